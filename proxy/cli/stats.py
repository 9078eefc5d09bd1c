"""`kochava-proxy stats`: the ledger."""

from __future__ import annotations

import time
from pathlib import Path

import apsw
import click
from rich.console import Console
from rich.table import Table

from proxy.cli.common import BAD_ANSWER, config_option, json_option, load_or_exit, print_json
from proxy.errors import StorageError
from proxy.observe.stats import Stats, read_stats
from proxy.spool.base import Counts


@click.command()
@config_option
@json_option
def stats(config_path: Path, as_json: bool) -> None:
    """Show what became of every message received; exits with 1 if the ledger does not balance."""
    config = load_or_exit(config_path)
    path = config_path.parent / config.spool.path
    try:
        result = read_stats(path, [source.name for source in config.sources], time.time())
    except (StorageError, apsw.Error) as error:
        raise click.ClickException(f"{path}: {error}") from None
    if as_json:
        print_json(result)
    else:
        _show(result)
    if not result.balanced:
        raise SystemExit(BAD_ANSWER)


def _show(result: Stats) -> None:
    table = Table("source", "received", "rejected", "duplicate", "filtered", "pending", "delivered",
                  "dead", "oldest pending")  # fmt: skip
    for name, counts in result.sources.items():
        table.add_row(name, *_row(counts))
    console = Console()
    console.print(table)
    console.print("balanced" if result.balanced else "[bold red]NOT BALANCED[/]")


def _row(counts: Counts) -> list[str]:
    oldest = counts.oldest_pending_seconds
    return [
        str(counts.received),
        _reasons(counts.rejected),
        str(counts.duplicate),
        _reasons(counts.filtered),
        str(counts.pending),
        str(counts.delivered),
        str(counts.dead),
        "" if oldest is None else f"{oldest:.0f} s",
    ]


def _reasons(reasons: dict[str, int]) -> str:
    lines = [str(sum(reasons.values()))]
    return "\n".join(lines + [f"{number} {reason}" for reason, number in sorted(reasons.items())])
