"""What the commands share: the config option, and errors as people should see them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
import msgspec

from proxy.config import Config
from proxy.configfile import load_config
from proxy.errors import ConfigError

#: Exit codes of every command: the answer is bad; usage or configuration is wrong.
BAD_ANSWER: Final = 1
BAD_USAGE: Final = 2

F = TypeVar("F", bound=Callable[..., Any])

config_option: Callable[[F], F] = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("config.toml"),
    show_default=True,
    help="The configuration file.",
)
json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs."
)


def group_without(*later: str) -> type[click.Group]:
    """A group of commands that says of the names in `later` that they are still to come."""

    class Group(click.Group):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name in later:
                ctx.fail(f"{cmd_name!r} is not available in this version")
            return super().get_command(ctx, cmd_name)

    return Group


def load_or_exit(path: Path) -> Config:
    """The config, or its problems on standard error and exit 2."""
    try:
        return load_config(path, os.environ)
    except ConfigError as error:
        show_and_exit(error, path)


def show_and_exit(error: ConfigError, config_path: Path) -> NoReturn:
    """Prints every problem, of the config where it names no other file; exits with 2."""
    number = len(error.problems)
    for problem in error.problems:
        file = problem.file or str(config_path)
        click.echo(msgspec.structs.replace(problem, file=file), err=True)
    click.echo(f"{number} problem{'s' if number > 1 else ''}", err=True)
    raise SystemExit(BAD_USAGE)


def print_json(value: object) -> None:
    """`value` as indented JSON; what JSON does not know, in Python's own words."""
    encoded = msgspec.json.encode(value, enc_hook=repr)
    click.echo(msgspec.json.format(encoded, indent=2).decode())
