"""`kochava-proxy dead`: the events that could not be delivered, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import click

from proxy.cli.common import (
    BAD_ANSWER,
    config_option,
    group_without,
    json_option,
    load_or_exit,
    print_json,
)
from proxy.database import open_for_reading
from proxy.errors import StorageError
from proxy.spool.letters import DeadLetter, read_letter, read_letters


@click.group(cls=group_without("replay", "purge"))
def dead() -> None:
    """Look at dead letters."""


@dead.command("list")
@config_option
@click.option("--source", help="Only of this source.")
@click.option("--reason", help="Only of this reason.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def list_(
    config_path: Path, source: str | None, reason: str | None, limit: int, as_json: bool
) -> None:
    """List dead letters, the newest first."""
    letters = _read(config_path, lambda connection: read_letters(connection, source, reason, limit))
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
