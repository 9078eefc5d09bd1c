"""The ledger and the apps as people and programs read them, beside a running proxy or without."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from proxy.appstate import AppState, together
from proxy.observe.snapshot import read_workers, reading
from proxy.spool.base import Counts
from proxy.spool.ledger import balances, read_counts


class Stats(msgspec.Struct, omit_defaults=True):
    """The ledger of every source; `balanced` says that no message of any is unaccounted for.
    `apps` are those of a running proxy, over all its workers.
    """

    sources: dict[str, Counts]
    balanced: bool
    apps: dict[str, AppState] = {}


def read_stats(path: Path, configured: Iterable[str], now: float) -> Stats:
    """What is in the file at `path`; a source that received nothing yet stands with zeros.

    Raises:
        StorageError: the file cannot be read.

    """
    found: dict[str, Counts] = {}
    if path.exists():
        with reading(path) as connection:
            found = read_counts(connection, now)
    sources = {name: Counts() for name in configured} | found
    balanced = all(balances(counts) for counts in sources.values())
    return Stats(sources, balanced, together(read_workers(path, now)))
