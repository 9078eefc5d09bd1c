"""`kochava-proxy dead`: the events that could not be delivered, and why."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final

import apsw
import click

from proxy.cli.common import BAD_ANSWER, F, config_option, json_option, load_or_exit, print_json
from proxy.connections import open_for_reading, writing
from proxy.errors import StorageError
from proxy.spool.letters import (
    DeadLetter,
    Which,
    count_letters,
    purge_letters,
    read_letter,
    read_letters,
    replay_letters,
)

MOST_AT_ONCE: Final = 200  # letters in one transaction, for which the proxy has to wait
PURGES_PER_SECOND: Final = 10_000

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


def which_options(command: F) -> F:
    """--source, --reason, --since and --until, as the argument `which`."""

    @wraps(command)  # with the options it has already
    def chosen(
        source: str | None,
        reason: str | None,
        since: datetime | None,
        until: datetime | None,
        **others: Any,
    ) -> Any:
        return command(which=Which(source, reason, _seconds(since), _seconds(until)), **others)

    options = (
        click.option("--source", help="Only of this source."),
        click.option("--reason", help="Only of this reason."),
        click.option("--since", type=_MOMENT, help="Only what died at this time or later, in UTC."),
        click.option("--until", type=_MOMENT, help="Only what died before this time, in UTC."),
    )
    wrapped: Any = chosen
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]  # a command, as it was


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


@click.group()
def dead() -> None:
    """Look at dead letters, send them again or throw them away."""


@dead.command("list")
@config_option
@which_options
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def list_(config_path: Path, which: Which, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first."""
    letters = _read(config_path, lambda connection: read_letters(connection, which, limit))
    if as_json:
        print_json({"dead": letters or []})
        return
    for letter in letters or []:
        first = letter.detail.strip().splitlines()[-1:] or [""]
        click.echo(f"{letter.id}  {letter.source}  {letter.type}  {letter.reason}  {first[0]}")


@dead.command()
@config_option
@click.option("--json", is_flag=True, expose_value=False, help="As it is always shown.")
@click.argument("letter_id", type=int)
def show(config_path: Path, letter_id: int) -> None:
    """Show one dead letter whole: message, reason, last request and answer."""
    letter: DeadLetter | None = _read(
        config_path, lambda connection: read_letter(connection, letter_id)
    )
    if letter is None:
        click.echo(f"there is no dead letter {letter_id}", err=True)
        raise SystemExit(BAD_ANSWER)
    print_json(letter)


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@dead.command()
@config_option
@which_options
@click.option("--rate", type=click.FloatRange(0.1), default=100.0, show_default=True,
              help="Letters a second.")  # fmt: skip
@yes_option
def replay(config_path: Path, which: Which, rate: float, yes: bool) -> None:
    """Put dead letters back into the queue, mapped anew by today's plugins.

    The oldest come first, so that each device's keep their order. Can be interrupted: what is not
    yet replayed stays a dead letter.
    """
    _each(config_path, which, "replay", replay_letters, rate, adds=True, yes=yes)


@dead.command()
@config_option
@which_options
@yes_option
def purge(config_path: Path, which: Which, yes: bool) -> None:
    """Throw dead letters away for good; the ledger still counts them."""
    _each(config_path, which, "purge", purge_letters, PURGES_PER_SECOND, adds=False, yes=yes)


def _each(
    config_path: Path,
    which: Which,
    name: str,
    work: Callable[[apsw.Cursor, Which, int, int], int],
    rate: float,
    *,
    adds: bool,
    yes: bool,
) -> None:
    """A transaction after the other, so that a running proxy never waits for long."""
    path = config_path.parent / load_or_exit(config_path).spool.path
    total, last = _read(config_path, lambda connection: count_letters(connection, which)) or (0, 0)
    click.echo(f"{total} dead letter{'' if total == 1 else 's'} to {name}")
    if not total or not (yes or click.confirm(f"{name} {'it' if total == 1 else 'them'}?")):
        return
    step = max(1, min(MOST_AT_ONCE, math.floor(rate)))
    done = 0
    try:
        with click.progressbar(length=total, label=name) as bar:
            while True:
                with writing(path, adds=adds) as connection:
                    number = work(connection.cursor(), which, last, step)
                done += number
                bar.update(number)
                if number < step:
                    break
                time.sleep(number / rate)
    except (StorageError, apsw.Error) as error:
        raise click.ClickException(f"{path}: {error}") from None
    finally:
        click.echo(f"{done} of {total} done")


def _read(config_path: Path, query: Any) -> Any:
    path = config_path.parent / load_or_exit(config_path).spool.path
    if not path.exists():
        return None
    try:
        connection = open_for_reading(path)
        try:
            return query(connection)
        finally:
            connection.close()
    except (StorageError, apsw.Error) as error:
        raise click.ClickException(f"{path}: {error}") from None
