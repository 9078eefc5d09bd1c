"""Counting, in the same transactions as what is counted.

`received`, `rejected`, `duplicate`, `filtered`, `delivered` and `dead` are counted as they happen;
`pending` is counted in the queue itself, so that the balance of both is a real check. What is
replayed is no longer dead, so that `dead` goes down; how many these were ever stands beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import apsw

from proxy.spool.base import Counts

_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS ledger (
    source  TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason  TEXT NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (source, outcome, reason)
) WITHOUT ROWID;
"""
_REPLAYED: Final = """
CREATE TABLE IF NOT EXISTS replayed (
    source TEXT PRIMARY KEY,
    count  INTEGER NOT NULL
) WITHOUT ROWID;
"""
SCHEMA: Final = _LEDGER + _REPLAYED

#: Source, outcome and reason ("" where there is none).
Line = tuple[str, str, str]


def count(cursor: apsw.Cursor, source: str, outcome: str, reason: str = "", by: int = 1) -> None:
    """Adds to one line of the ledger."""
    cursor.execute(
        "INSERT INTO ledger VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        (source, outcome, reason, by),
    )


def count_all(cursor: apsw.Cursor, lines: Mapping[Line, int]) -> None:
    """Adds to many lines at once."""
    for (source, outcome, reason), by in lines.items():
        count(cursor, source, outcome, reason, by)


def count_replayed(cursor: apsw.Cursor, source: str) -> None:
    """Takes one from the dead, also in a file that no proxy of this version has opened yet."""
    count(cursor, source, "dead", by=-1)
    cursor.execute(_REPLAYED)
    cursor.execute(
        "INSERT INTO replayed VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1", (source,)
    )


def read_replayed(connection: apsw.Connection) -> dict[str, int]:
    """How many letters of each source were ever replayed."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'replayed'").fetchall():
        return {}
    rows: Any = connection.execute("SELECT source, count FROM replayed").fetchall()
    return dict(rows)


def read_counts(connection: apsw.Connection, now: float) -> dict[str, Counts]:
    """The ledger by source, from one snapshot."""
    ledger: defaultdict[str, Counts] = defaultdict(Counts)
    with connection:
        rows = list(connection.execute("SELECT source, outcome, reason, count FROM ledger"))
        pending = list(
            connection.execute(
                "SELECT source, count(*), min(received_at) FROM events GROUP BY source"
            )
        )
    for source, outcome, reason, number in rows:
        counts = ledger[source]
        if outcome in ("rejected", "filtered"):
            getattr(counts, outcome)[reason] = number
        else:
            setattr(counts, outcome, getattr(counts, outcome) + number)
    for source, number, oldest in pending:
        ledger[source].pending = number
        ledger[source].oldest_pending_seconds = round(max(0.0, now - oldest), 3)
    return dict(ledger)


def balances(counts: Counts) -> bool:
    """Whether every received message is accounted for."""
    return counts.received == (
        sum(counts.rejected.values())
        + counts.duplicate
        + sum(counts.filtered.values())
        + counts.pending
        + counts.delivered
        + counts.dead
    )
