"""`kochava-proxy stats`: the ledger, and how delivery to each app goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from proxy.appstate import AppState
from proxy.cli.common import BAD_ANSWER, config_option, json_option, load_or_exit, print_json
from proxy.errors import StorageError
from proxy.observe.stats import Stats, read_stats
from proxy.spool.base import Counts


@click.command()
@config_option
@json_option
def stats(config_path: Path, as_json: bool) -> None:
    """Show what became of every message received, and how delivery to each app goes; exits with 1
    if the ledger does not balance.
    """
    config = load_or_exit(config_path)
    path = config_path.parent / config.spool.path
    try:
        result = read_stats(path, [source.name for source in config.sources], time.time())
    except StorageError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(result)
    else:
        _show(result)
    if not result.balanced:
        raise SystemExit(BAD_ANSWER)


def _show(result: Stats) -> None:
    """One column a source, one line a count: what was received, and what it became."""
    table = _table("", *result.sources)
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
    _print(console, table)
    if result.balanced:
        console.print("balanced")
    else:
        console.print("NOT BALANCED", style="bold red")
    if result.apps:
        console.print()
        _print(console, _apps(result.apps.values()))


def _apps(apps: Iterable[AppState]) -> Table:
    """One line an app, over all workers."""
    table = _table("app", "in flight", "limit", "delivered", "retried", "refused")
    table.add_column("state")
    for app in apps:
        numbers = (app.in_flight, app.limit, app.delivered, app.retried, app.refused)
        _row(table, app.app, [*numbers, _state(app)])
    return table


def _state(app: AppState) -> str:
    """What keeps requests from an app, the worst first."""
    if app.paused is not None:
        return f"paused: {app.paused}"
    if app.breaker != "closed":
        return f"breaker {app.breaker.replace('_', '-')}"
    if app.rate is not None:
        return f"limited: {app.rate:.1f} a second"
    return "well"


def _table(*columns: str) -> Table:
    """The first column to the left, the others to the right."""
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _print(console: Console, table: Table) -> None:
    """Rather wider than the terminal than with numbers cut short."""
    unbounded = console.options.update(max_width=1_000_000)
    width = console.measure(table, options=unbounded).maximum
    console.width = max(console.width, width)
    console.print(table)


def _row(table: Table, name: str, values: Sequence[object]) -> None:
    table.add_row(name, *map(str, values))


def _reasons(table: Table, name: str, values: Sequence[dict[str, int]]) -> None:
    _row(table, f"  {name}", [sum(reasons.values()) for reasons in values])
    for reason in sorted({reason for reasons in values for reason in reasons}):
        _row(table, f"    {reason}", [reasons.get(reason, 0) for reasons in values])


def _oldest(counts: Counts) -> str:
    seconds = counts.oldest_pending_seconds
    return "" if seconds is None else f"{seconds:.0f}"
