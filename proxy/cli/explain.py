"""`kochava-proxy explain`: what would become of one message, stage by stage; nothing is sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

import apsw
import click
import msgspec

from proxy.cli.common import (
    BAD_ANSWER,
    config_option,
    json_option,
    load_or_exit,
    print_json,
    show_and_exit,
)
from proxy.cli.explaining import Explanation, explain_message, explain_postback
from proxy.config import Config, SourceConfig
from proxy.errors import ConfigError, RequestRefused, StorageError
from proxy.mapping.plugins import Plugins, load_plugins
from proxy.receive.intake import read_message
from proxy.receive.postbacks import read_form, read_parameters

_URL: Final = re.compile(r"(https?:/)?/", re.IGNORECASE)  # or its path, as logs have it


@click.command()
@config_option
@click.option(
    "--source",
    "source_name",
    help="The source it comes from; by default that of its writeKey or token, else the first.",
)
@click.option(
    "--postback",
    is_flag=True,
    help="FILE is a postback of Kochava's: a URL, a query, a form, or JSON.",
)
@json_option
@click.argument("file", type=click.File("rb"), default="-")
def explain(
    config_path: Path, source_name: str | None, postback: bool, as_json: bool, file: IO[bytes]
) -> None:
    """Take one message from FILE (- for standard input) through every stage; nothing is sent.

    Exits with 1 if the message would be rejected or a plugin breaks on it.
    """
    config = load_or_exit(config_path)
    try:
        plugins = load_plugins(config, config_path.parent)
    except ConfigError as error:
        show_and_exit(error, config_path)
    explain_one = _postback if postback else _message
    try:
        result = explain_one(config, config_path.parent, plugins, source_name, file.read())
    except RequestRefused as error:
        name = getattr(file, "name", "<stdin>")  # a stand-in for it may have none
        raise click.UsageError(f"{name}: {error.message}") from None
    except (StorageError, apsw.Error) as error:
        raise click.ClickException(f"{config.spool.path}: {error}") from None
    if as_json:
        print_json(result)
    else:
        _show(result)
    if result.outcome in ("rejected", "dead"):
        raise SystemExit(BAD_ANSWER)


def _message(
    config: Config, base: Path, plugins: Plugins, name: str | None, text: bytes
) -> Explanation:
    raw, key = read_message(text)
    own = [source for source in config.sources if key in source.write_keys]
    source = _source(config.sources, name, own)
    return explain_message(config, base, plugins, source.name, raw)


def _postback(
    config: Config, base: Path, plugins: Plugins, name: str | None, text: bytes
) -> Explanation:
    token, given = read_postback(text)
    taking = [source for source in config.sources if source.postback_token]
    if not taking:
        raise click.UsageError("no source takes postbacks: set its postback_token")
    own = [source for source in taking if source.postback_token == token]
    source = _source(config.sources, name, [*own, *taking])
    if source not in taking:
        what = f"{source.name!r} takes no postbacks: set its postback_token"
        raise click.BadParameter(what, param_hint="--source")
    return explain_postback(config, base, plugins, source.name, given)


def read_postback(text: bytes) -> tuple[str, dict[str, str]]:
    """The token, if there is a URL that has it, and the parameters, in whichever form they are.

    Raises:
        RequestRefused: they are in none.

    """
    line = text.decode("utf-8", "replace").strip()
    if not _URL.match(line):
        return "", read_parameters(line.removeprefix("?").encode())
    try:
        url = urlsplit(line)
    except ValueError as error:
        raise RequestRefused(400, "bad_request", f"this is not a URL: {error}") from None
    return url.path.rpartition("/")[2], read_form(url.query)


def _source(
    sources: Sequence[SourceConfig], name: str | None, own: Sequence[SourceConfig]
) -> SourceConfig:
    """The one of that name, else the first of `own`, else the first."""
    if name is None:
        return (*own, *sources)[0]
    for source in sources:
        if source.name == name:
            return source
    names = ", ".join(source.name for source in sources)
    raise click.BadParameter(f"no source {name!r}; there are: {names}")


def _show(result: Explanation) -> None:
    for stage in result.stages:
        who = f" {stage.plugin}" if stage.plugin else ""
        click.echo(f"{stage.stage}{who}: {_line(stage.result)}")
    click.echo(f"=> {result.outcome}" + (f" ({result.reason})" if result.reason else ""))
    if result.outcome == "held":
        click.echo("   at the end of the wait, if no more is known by then:")
    for request in result.requests:
        click.echo(f"{request['method']} {request['url']}")
        for name, value in request["headers"].items():
            click.echo(f"    {name}: {value}")
        print_body: Sequence[str] = (
            msgspec.json.format(msgspec.json.encode(request["body"]), indent=2)
            .decode()
            .splitlines()
        )
        for line in print_body:
            click.echo(f"    {line}")


def _line(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=repr).decode()
