"""Taking in: counted, each id once, queued in the lane it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import apsw

from proxy.clock import Clock
from proxy.database import Database
from proxy.event import Event
from proxy.spool import ledger, rows
from proxy.spool.dedup import DedupWindow
from proxy.spool.persons import Persons


class Appender:
    """Writes what came in. `bulk_age_seconds`: events that happened longer before they were
    received are bulk (0: none).
    """

    def __init__(
        self, database: Database, clock: Clock, dedup_seconds: float, bulk_age_seconds: float
    ) -> None:
        self._database = database
        self._clock = clock
        self._window = DedupWindow(dedup_seconds)
        self._bulk_age = bulk_age_seconds
        self._persons = Persons()

    def append(
        self, source: str, events: Sequence[Event], rejected: Mapping[str, int]
    ) -> asyncio.Future[set[int]]:
        """The devices that there is news of, once all of it is on the disk; raises as
        `Database.write`.
        """
        now = self._clock.now()

        def job(cursor: apsw.Cursor) -> set[int]:
            devices: set[int] = set()
            received = len(events) + sum(rejected.values())
            ledger.count(cursor, source, "received", by=received)
            for reason, number in rejected.items():
                ledger.count(cursor, source, "rejected", reason, number)
            if not events:
                return devices
            self._window.rotate(cursor, now, len(events))
            fresh = [
                event
                for event in events
                if not self._window.seen(cursor, source, event.message_id, now)
            ]
            if len(fresh) < len(events):
                ledger.count(cursor, source, "duplicate", by=len(events) - len(fresh))
            lanes = rows.lanes_of(cursor, source)
            for event in fresh:
                device = self._persons.device(cursor, event)
                rows.insert_event(cursor, event, device, lanes[self._is_bulk(event)])
                devices.add(device)
            return devices

        return self._database.write(job, adds=True)

    def _is_bulk(self, event: Event) -> bool:
        if event.computed or event.happened_at is None or not self._bulk_age:
            return event.computed
        return event.received_at - event.happened_at > self._bulk_age
