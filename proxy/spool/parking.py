"""Events that wait for a time and for an app: found by an index, due ones first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import apsw

from proxy.clock import Clock
from proxy.database import Database
from proxy.spool import rows
from proxy.spool.base import Part

_DUE: Final = f"""
SELECT e.lane, {rows.COLUMNS} FROM parked p JOIN events e ON e.id = p.id
WHERE p.app = ? AND p.due <= ? AND p.device % ? = ? ORDER BY p.due LIMIT ?
"""
_SET_BACK: Final = """
UPDATE parked SET due = due - ? WHERE app IS NOT NULL AND due > ? AND device % ? = ?
"""
_NEXT: Final = """
SELECT id, due FROM parked WHERE app = ? AND device % ? = ? ORDER BY due LIMIT ?
"""

#: Less than this is the slow work of a time service, and of no consequence.
SET_BACK_SECONDS: Final = 1.0


class Parking:
    """What of `parked` is this worker's to look after. Leased rows stay in the table until they
    are settled or parked anew; their ids are in `leased`.
    """

    def __init__(
        self, database: Database, clock: Clock, part: Part, on_news: Callable[[], None]
    ) -> None:
        self._database = database
        self._clock = clock
        self._part = part
        self._on_news = on_news
        self.leased: set[int] = set()
        self._offset = clock.now() - clock.steady()
        #: Not after the next event of an app is due; it may turn out to be later.
        self._next_due = dict.fromkeys(self.apps(), 0.0)

    def apps(self) -> Iterable[str]:
        """Every app that anything is parked for, by one step in the index each."""
        apps: list[str] = []
        where = "app IS NOT NULL"
        while read := self._database.read(f"SELECT min(app) FROM parked WHERE {where}", apps[-1:]):
            if read[0][0] is None:
                break
            apps.append(read[0][0])
            where = "app > ?"
        return apps

    def next_due(self, app: str) -> float | None:
        return self._next_due.get(app)

    def parked(self, app: str, due: float) -> None:
        """Hears of a row that was written."""
        self.look_at_clock()
        self._next_due[app] = min(due, self._next_due.get(app, due))

    def look_again(self) -> None:
        """Others may have written rows."""
        for app in self.apps():
            self._next_due[app] = 0.0

    def look_at_clock(self) -> None:
        """What is parked waits for a time of day: where that was set back, so are they."""
        before, self._offset = self._offset, self._clock.now() - self._clock.steady()
        seconds, now = before - self._offset, self._clock.now()
        if seconds < SET_BACK_SECONDS:
            return

        def job(cursor: apsw.Cursor) -> None:
            cursor.execute(_SET_BACK, (seconds, now, *self._part.modulo))

        def landed(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and not future.exception():
                self.look_again()
                self._on_news()

        self._database.write(job, must_land=True).add_done_callback(landed)

    def take(self, app: str, limit: int) -> list[tuple[Any, ...]]:
        """Up to `limit` rows that are due, each with its lane first; they are leased then."""
        now = self._clock.now()
        due = self._next_due.get(app)
        if due is None or due > now or limit <= 0:
            return []
        values = (app, now, *self._part.modulo, limit + len(self.leased))
        read = self._database.read(_DUE, values)
        found = [row for row in read if row[1] not in self.leased][:limit]
        self.leased.update(row[1] for row in found)
        if len(found) < limit:
            self._find_next(app)
        return found

    def _find_next(self, app: str) -> None:
        self._next_due.pop(app, None)
        values = (app, *self._part.modulo, 1 + len(self.leased))
        for id_, due in self._database.read(_NEXT, values):
            if id_ not in self.leased:
                self._next_due[app] = due
                return
