"""The spool in SQLite: one table of events in the order of their acceptance, read by a cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw
import msgspec

from proxy.clock import Clock
from proxy.database import Database
from proxy.event import Event
from proxy.spool import dedup, ledger, purpose
from proxy.spool.base import Leased, Parked, Usage
from proxy.spool.dedup import DedupWindow
from proxy.states import Settlement

SCHEMA: Final = (
    """
CREATE TABLE IF NOT EXISTS events (
    id               INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused, so the cursor never skips
    source           TEXT NOT NULL,
    message_id       TEXT NOT NULL,
    type             TEXT NOT NULL,
    received_at      REAL NOT NULL,
    due              REAL NOT NULL DEFAULT 0,           -- 0: never tried, or waits for nothing
    attempts         INTEGER NOT NULL DEFAULT 0,
    first_attempt_at REAL,
    done             BLOB NOT NULL DEFAULT x'',         -- digests of delivered requests, end to end
    facts            BLOB NOT NULL,
    raw              BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS parked ON events (due) WHERE due > 0;
CREATE TABLE IF NOT EXISTS dead (
    id          INTEGER PRIMARY KEY,
    source      TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    type        TEXT NOT NULL,
    received_at REAL NOT NULL,
    died_at     REAL NOT NULL,
    attempts    INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    detail      TEXT NOT NULL,
    request     BLOB,
    response    BLOB,
    facts       BLOB NOT NULL,
    raw         BLOB NOT NULL
);
"""
    + ledger.SCHEMA
    + dedup.SCHEMA
    + purpose.SCHEMA
)

DIGEST_BYTES: Final = 8
#: Headers that authenticate; they have no business in a dead letter.
_SECRET_HEADERS: Final = frozenset({"kochava-api-key", "kochava-auth-token", "authorization"})
_COLUMNS: Final = (
    "id, source, message_id, type, received_at, facts, raw, attempts, first_attempt_at, done"
)


class SqliteSpool:
    """`proxy.spool.base.Spool` on a `Database`."""

    def __init__(self, database: Database, clock: Clock, dedup_seconds: float) -> None:
        self._database = database
        self._clock = clock
        self._window = DedupWindow(dedup_seconds)
        self._cursor = 0  # the last id leased that had never been tried
        self._leased: set[int] = set()
        self._news = asyncio.Event()

    async def append(
        self, source: str, events: Sequence[Event], rejected: Mapping[str, int]
    ) -> None:
        now = self._clock.now()

        def job(cursor: apsw.Cursor) -> None:
            received = len(events) + sum(rejected.values())
            ledger.count(cursor, source, "received", by=received)
            for reason, number in rejected.items():
                ledger.count(cursor, source, "rejected", reason, number)
            if not events:
                return
            self._window.rotate(cursor, now, len(events))
            fresh = [
                event
                for event in events
                if not self._window.seen(cursor, source, event.message_id, now)
            ]
            if len(fresh) < len(events):
                ledger.count(cursor, source, "duplicate", by=len(events) - len(fresh))
            cursor.executemany(
                "INSERT INTO events (source, message_id, type, received_at, facts, raw)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (msgspec.structs.astuple(event) for event in fresh),
            )

        # Events of a caller that has gone away are stored all the same, and are news.
        stored = self._database.write(job)
        stored.add_done_callback(lambda _: self._news.set())
        await asyncio.shield(stored)

    async def lease(self, limit: int) -> list[Leased]:
        while True:
            self._news.clear()
            rows = self._due(limit)
            rows += self._fresh(limit - len(rows))
            if rows:
                self._leased.update(row[0] for row in rows)
                return [_leased(row) for row in rows]
            await self._clock.wait(self._news, self._seconds_until_due())

    def _due(self, limit: int) -> list[tuple[Any, ...]]:
        """Parked events whose time has come. Leased ones still stand in the index, hence the
        wider limit.
        """
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM events WHERE due > 0 AND due <= ? ORDER BY due LIMIT ?",
            (self._clock.now(), limit + len(self._leased)),
        )
        return [row for row in rows if row[0] not in self._leased][:limit]

    def _fresh(self, limit: int) -> list[tuple[Any, ...]]:
        if limit <= 0:
            return []
        newest = self._database.read("SELECT max(id) FROM events")[0][0] or 0
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM events WHERE id > ? AND due = 0 ORDER BY id LIMIT ?",
            (self._cursor, limit),
        )
        # Past all that was read: after a restart, what is parked is read over once and not again.
        last = rows[-1][0] if rows else 0
        self._cursor = max(self._cursor, last, newest if len(rows) < limit else 0)
        return rows

    def _seconds_until_due(self) -> float | None:
        rows = self._database.read(
            "SELECT id, due FROM events WHERE due > 0 ORDER BY due LIMIT ?",
            (1 + len(self._leased),),
        )
        for id_, due in rows:
            if id_ not in self._leased:
                return max(0.0, float(due) - self._clock.now())
        return None

    async def settle(self, leased: Leased, settlement: Settlement) -> None:
        now = self._clock.now()

        def job(cursor: apsw.Cursor) -> None:
            cursor.execute("DELETE FROM events WHERE id = ?", (leased.id,))
            if not cursor.connection.changes():
                return  # settled before; an event ends once
            if settlement.state == "dead":
                _bury(cursor, leased, settlement, now)
            reason = _storable(settlement.reason) if settlement.state == "filtered" else ""
            ledger.count(cursor, leased.event.source, settlement.state, reason)

        await self._database.write(job, must_land=True)
        self._leased.discard(leased.id)

    async def park(self, parked: Parked) -> None:
        done = b"".join(sorted(parked.done))

        def job(cursor: apsw.Cursor) -> None:
            cursor.execute(
                "UPDATE events SET due = ?, attempts = ?, first_attempt_at = ?, done = ?"
                " WHERE id = ?",
                (parked.due, parked.attempts, parked.first_attempt_at, done, parked.id),
            )

        await self._database.write(job, must_land=True)
        self._leased.discard(parked.id)
        self._news.set()

    def usage(self) -> Usage:
        pages, free, size = self._database.read(
            "SELECT page_count, freelist_count, page_size"
            " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        )[0]
        oldest = self._database.read("SELECT received_at FROM events ORDER BY id LIMIT 1")
        return Usage((pages - free) * size, oldest[0][0] if oldest else None)


def _leased(row: tuple[Any, ...]) -> Leased:
    id_, source, message_id, type_, received_at, facts, raw, attempts, first, done = row
    digests = (done[at : at + DIGEST_BYTES] for at in range(0, len(done), DIGEST_BYTES))
    event = Event(source, message_id, type_, received_at, facts, raw)
    return Leased(id_, event, attempts, first, frozenset(digests))


def _storable(text: str) -> str:
    """A plugin's words may hold what is no text (lone surrogates), which SQLite refuses."""
    return text.encode("utf-8", "backslashreplace").decode()


def _bury(cursor: apsw.Cursor, leased: Leased, settlement: Settlement, now: float) -> None:
    request = settlement.request
    if request is not None:
        headers = {
            name: "(not kept)" if name.lower() in _SECRET_HEADERS else value
            for name, value in request.headers.items()
        }
        request = msgspec.structs.replace(request, headers=headers)
    event = leased.event
    cursor.execute(
        "INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            leased.id,
            event.source,
            event.message_id,
            event.type,
            event.received_at,
            now,
            leased.attempts + (request is not None),  # the last one ended it
            _storable(settlement.reason),
            _storable(settlement.detail),
            request
            and msgspec.json.encode(
                {**msgspec.structs.asdict(request), "body": request.body.decode()}
            ),
            settlement.response and msgspec.json.encode(settlement.response),
            event.facts,
            event.raw,
        ),
    )
