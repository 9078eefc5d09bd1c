"""The ledger as people and programs read it, beside a running proxy or without one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from proxy.database import open_for_reading
from proxy.spool.base import Counts
from proxy.spool.ledger import balances, read_counts


class Stats(msgspec.Struct):
    """The ledger of every source; `balanced` says that no message of any is unaccounted for."""

    sources: dict[str, Counts]
    balanced: bool


def read_stats(path: Path, configured: Iterable[str], now: float) -> Stats:
    """The ledger in the file at `path`; a source that received nothing yet stands with zeros."""
    found: dict[str, Counts] = {}
    if path.exists():
        connection = open_for_reading(path)
        try:
            found = read_counts(connection, now)
        finally:
            connection.close()
    sources = {name: Counts() for name in configured} | found
    return Stats(sources, all(balances(counts) for counts in sources.values()))
