"""Taking in: counted, each id once, queued in the lane it belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import apsw

from proxy.clock import Clock
from proxy.database import Database
from proxy.event import Event
from proxy.spool import ledger, rows
from proxy.spool.dedup import DedupWindow, digest_of
from proxy.spool.persons import Persons


class _Arrived(NamedTuple):
    """What one request brought."""

    source: str
    events: Sequence[Event]
    rejected: Mapping[str, int]


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
        self,
        source: str,
        events: Sequence[Event],
        rejected: Mapping[str, int],
        answered: Callable[[set[int] | BaseException], None],
    ) -> None:
        """Tells `answered` the devices that there is news of, once all of it is on the disk, or
        what `Database.write` raises.
        """
        arrived = _Arrived(source, events, rejected)
        size = len(events) or 1
        self._database.write_item(self._write, arrived, answered, size=size, adds=True)

    def _write(self, cursor: apsw.Cursor, all_arrived: Sequence[_Arrived]) -> list[set[int]]:
        lines: Counter[ledger.Line] = Counter()
        events = [event for arrived in all_arrived for event in arrived.events]
        fresh = iter(self._fresh(cursor, events))
        news: list[list[Event]] = []
        for source, all_events, rejected in all_arrived:
            lines[source, "received", ""] += len(all_events) + sum(rejected.values())
            for reason, number in rejected.items():
                lines[source, "rejected", reason] += number
            new = [event for event in all_events if next(fresh)]
            if len(new) < len(all_events):
                lines[source, "duplicate", ""] += len(all_events) - len(new)
            news.append(new)
        ledger.count_all(cursor, lines)
        devices = iter(self._insert(cursor, [event for new in news for event in new]))
        return [{next(devices) for _ in new} for new in news]

    def _fresh(self, cursor: apsw.Cursor, events: Sequence[Event]) -> list[bool]:
        if not events:
            return []
        now = self._clock.now()
        digests = [digest_of(event.source, event.message_id) for event in events]
        return self._window.fresh(cursor, digests, now)

    def _insert(self, cursor: apsw.Cursor, events: Sequence[Event]) -> list[int]:
        """The devices by which they are ordered."""
        devices = self._persons.devices(cursor, events)
        lanes = {source: rows.lanes_of(cursor, source) for source in {e.source for e in events}}
        rows.insert_events(
            cursor,
            [
                (event, device, lanes[event.source][self._is_bulk(event)], None)
                for event, device in zip(events, devices, strict=True)
            ],
        )
        return devices

    def _is_bulk(self, event: Event) -> bool:
        if event.computed or event.happened_at is None or not self._bulk_age:
            return event.computed
        return event.received_at - event.happened_at > self._bulk_age
