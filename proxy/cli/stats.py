"""`kochava-proxy stats`: the ledger."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
    """One column a source, one line a count: what was received, and what it became."""
    table = Table("", *result.sources, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    every = list(result.sources.values())
    _row(table, "received", [counts.received for counts in every])
    _reasons(table, "rejected", [counts.rejected for counts in every])
    _row(table, "  duplicate", [counts.duplicate for counts in every])
    _reasons(table, "filtered", [counts.filtered for counts in every])
    _row(table, "  pending", [counts.pending for counts in every])
    _row(table, "    oldest, seconds", [_oldest(counts) for counts in every])
    _row(table, "  delivered", [counts.delivered for counts in every])
    _row(table, "  dead", [counts.dead for counts in every])
    console = Console(highlight=False, markup=False)  # names and reasons may hold brackets
    unbounded = console.options.update(max_width=1_000_000)
    # Rather wider than the terminal than with numbers cut short.
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
    if result.balanced:
        console.print("balanced")
    else:
        console.print("NOT BALANCED", style="bold red")


def _row(table: Table, name: str, values: Sequence[object]) -> None:
    table.add_row(name, *map(str, values))


def _reasons(table: Table, name: str, values: Sequence[dict[str, int]]) -> None:
    _row(table, f"  {name}", [sum(reasons.values()) for reasons in values])
    for reason in sorted({reason for reasons in values for reason in reasons}):
        _row(table, f"    {reason}", [reasons.get(reason, 0) for reasons in values])


def _oldest(counts: Counts) -> str:
    seconds = counts.oldest_pending_seconds
    return "" if seconds is None else f"{seconds:.0f}"
