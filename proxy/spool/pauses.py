"""The apps whose settings are refused, in a table: known to all workers, and at the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import apsw

from proxy.clock import Clock
from proxy.database import Database
from proxy.spool.base import Part, Pause
from proxy.writes import Job

T = TypeVar("T")

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS app_pauses (
    app      TEXT PRIMARY KEY,
    reason   TEXT NOT NULL,
    probe_at REAL NOT NULL
);
"""

_READ: Final = "SELECT app, reason, probe_at FROM app_pauses"
#: Who was first has said when the probe is.
_PAUSE: Final = """
INSERT INTO app_pauses VALUES (?, ?, ?) ON CONFLICT (app) DO UPDATE SET reason = excluded.reason
"""
#: A probe further ahead than the next one would be is of a clock that was set back.
_CLAIM: Final = """
UPDATE app_pauses SET probe_at = ?2 WHERE app = ?1 AND (probe_at <= ?3 OR probe_at > ?2)
"""
#: Nobody would ever probe these: an app id that was mistyped and has been mended, say.
_MOOT: Final = """
probe_at <= ? AND NOT EXISTS (SELECT 1 FROM parked WHERE parked.app = app_pauses.app)
"""


class SqlitePauses:
    """`proxy.spool.base.Pauses` of one worker."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        part: Part,
        wake: Callable[[int], None],
        on_news: Callable[[], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._part = part
        self._wake = wake
        self._on_news = on_news
        self._unlanded = 0  # writes that are under way
        self._known = self._read()
        # A restart often means that the settings were mended. All workers start then; the first
        # speaks for them, or each would have its probe.
        if self._known and part.worker == 0:
            self._change("UPDATE app_pauses SET probe_at = ?", clock.now())

    def all(self) -> Mapping[str, Pause]:
        return self._known

    def pause(self, app: str, reason: str, probe_at: float) -> None:
        known = self._known.get(app)
        if known is None or known.reason != reason:
            self._known[app] = Pause(reason, known.probe_at if known else probe_at)
            self._change(_PAUSE, app, reason, probe_at)

    async def claim_probe(self, app: str, next_at: float) -> bool:
        values = (app, next_at, self._clock.now())

        def job(cursor: apsw.Cursor) -> bool:
            cursor.execute(_CLAIM, values)
            return cursor.connection.changes() > 0

        # Not even a full disk may keep an app from being found mended: its events may fill it.
        return await self._write(job)

    def resume(self, app: str) -> None:
        self._known.pop(app, None)
        self._change("DELETE FROM app_pauses WHERE app = ?", app)
        self._on_news()

    def look(self) -> None:
        """Finds out what other workers have written."""
        if self._unlanded:  # what is read would be older than what is known
            return
        before, self._known = self._known, self._read()
        if self._known != before:
            self._on_news()
        now = self._clock.now()
        if self._known and self._database.read(f"SELECT 1 FROM app_pauses WHERE {_MOOT}", (now,)):
            self._change(f"DELETE FROM app_pauses WHERE {_MOOT}", now)

    def _read(self) -> dict[str, Pause]:
        return {app: Pause(*rest) for app, *rest in self._database.read(_READ)}

    def _change(self, statement: str, *values: str | float) -> None:
        """Writes what all workers are to know."""

        def job(cursor: apsw.Cursor) -> None:
            cursor.execute(statement, values)

        def landed(future: asyncio.Future[None]) -> None:
            if future.cancelled() or future.exception():
                return  # a broken disk ends the process by itself
            for worker in range(self._part.workers):
                if worker != self._part.worker:
                    self._wake(worker)

        self._write(job).add_done_callback(landed)

    def _write(self, job: Job[T]) -> asyncio.Future[T]:
        def landed(future: asyncio.Future[T]) -> None:
            self._unlanded -= 1
            if not future.cancelled() and not future.exception():
                self.look()

        self._unlanded += 1
        future = self._database.write(job, must_land=True)
        future.add_done_callback(landed)
        return future
