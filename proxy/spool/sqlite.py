"""The spool in SQLite: a cursor per lane reads fresh events, an index finds those that waited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import apsw

from proxy.clock import Clock
from proxy.connections import BYTES_IN_USE
from proxy.database import Database
from proxy.event import Event
from proxy.spool import rows, settling
from proxy.spool.appending import Appender
from proxy.spool.base import Lane, Leased, Parked, Part, Usage
from proxy.spool.lanes import Cursor, Lanes
from proxy.spool.parking import Parking
from proxy.spool.pauses import SqlitePauses
from proxy.states import Settlement
from proxy.writes import numbers, tell

MAX_SCANS: Final = 20  # of as many events as are asked for, in one lease: it never takes long
#: Ids of events kept in memory because an earlier one of their device is leased; those beyond are
#: parked behind it on the disk.
MAX_FOLLOWERS: Final = 20_000


class SqliteSpool:
    """`proxy.spool.base.Spool` on a `Database`.

    `bulk_age_seconds`: events that happened longer before they were received are bulk (0: none).
    `part` is what this process delivers of it; `wake` tells another one that there is news for it.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        dedup_seconds: float,
        bulk_age_seconds: float = 0.0,
        *,
        part: Part = Part(),  # noqa: B008  frozen
        wake: Callable[[int], None] = lambda _: None,
        max_followers: int = MAX_FOLLOWERS,
    ) -> None:
        self._database = database
        self._appender = Appender(database, clock, dedup_seconds, bulk_age_seconds)
        self._parking = Parking(database, clock, part, self._tell)
        self.pauses = SqlitePauses(database, clock, part, wake, self._tell)
        self._part = part
        self._wake = wake
        self._max_followers = max_followers
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        #: Devices with an event leased, or about to be: id and lane of those that wait for it.
        self._followers: dict[int, deque[tuple[int, int]]] = {}
        self._following = 0
        self._ahead: set[int] = set()  # bulk events leased before their lane's cursor came by
        self._unlanded = 0  # writes to `parked` that are under way
        self._some_parked = True  # as far as is known
        self._lanes = Lanes(database)
        self._newest = 0

    # Taking in

    async def append(
        self, source: str, events: Sequence[Event], rejected: Mapping[str, int]
    ) -> None:
        stored: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(answer: set[int] | BaseException) -> None:
            # Events of a caller that has gone away are stored all the same, and are news.
            if not isinstance(answer, BaseException):
                self._tell_of(source, answer)
            tell(stored, answer)

        self._appender.append(source, events, rejected, answered)
        await stored

    def _tell_of(self, source: str, devices: set[int]) -> None:
        parts = {device % self._part.workers for device in devices}
        for worker in parts - {self._part.worker}:
            self._wake(worker)
        if self._part.worker in parts:
            self._lanes.news_of(source)
            self._tell()

    def on_news(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def look(self) -> None:
        """Finds out what nobody says: that another program has appended, that the clock was set
        back. To be called about once a second.
        """
        self._parking.look_at_clock()
        self.pauses.look()
        newest = self._database.read("SELECT max(seq) FROM sqlite_sequence")[0][0] or 0
        if newest > self._newest:
            self._newest = newest
            self.heard()

    def heard(self) -> None:
        """Another process has written, it is not said what."""
        self._lanes.look_again()
        self._parking.look_again()
        self.pauses.look()
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    # Handing out

    def lanes(self) -> Sequence[Lane]:
        return self._lanes.all()

    def lease(self, lane: Lane, limit: int) -> list[Leased]:
        cursor = self._lanes.cursor(lane)
        ready = cursor.ready
        scans = 0
        while len(ready) < limit:
            if cursor.turn:
                ready += self._freed(lane, cursor, limit)
            elif cursor.read_up or scans == MAX_SCANS:
                break
            else:
                ready += self._scan(lane, cursor, limit)
                scans += 1
        return [ready.popleft() for _ in range(min(limit, len(ready)))]

    def _freed(self, lane: Lane, cursor: Cursor, limit: int) -> list[Leased]:
        """Events whose turn has come: the one before them is settled."""
        ids = [cursor.turn.popleft() for _ in range(min(limit, len(cursor.turn)))]
        read = self._database.read(rows.THESE, (numbers(ids),))
        self._parking.leased.update(row[0] for row in read if row[8] is not None)
        return [rows.leased(row, lane) for row in read]

    def _scan(self, lane: Lane, cursor: Cursor, limit: int) -> list[Leased]:
        # Bulk never overtakes what is live: an event of its device might be among it.
        ((newest, some_parked, some_bulk),) = self._database.read(rows.OVERVIEW)
        end = self._lanes.other(lane).id if lane.bulk else newest
        read = self._database.read(rows.FRESH, (lane.id, cursor.id, end, *self._part.modulo, limit))
        self._some_parked = bool(some_parked or self._unlanded)
        first_parked: dict[int, int] = {}
        if read and self._some_parked:
            devices = numbers({row[1] for row in read})
            first_parked = dict(self._database.read(rows.FIRST_PARKED, (devices,)))
        found: list[Leased] = []
        for row in read:
            id_, device = row[:2]
            cursor.id = id_
            if id_ in self._ahead:
                continue
            if some_bulk and not lane.bulk:
                for earlier, waits in self._bulk_before(lane, device, id_):
                    self._ahead.add(earlier)
                    behind = first_parked.get(device, earlier) < earlier
                    if self._enter(earlier, device, lane, behind=behind, on_disk=waits):
                        cursor.turn.append(earlier)
            on_disk = row[8] is not None
            behind = first_parked.get(device, id_) < id_
            if self._enter(id_, device, lane, behind=behind, on_disk=on_disk):
                if on_disk:
                    self._parking.leased.add(id_)
                found.append(rows.leased(row, lane))
        if len(read) < limit:
            cursor.read_to(end)
        if not lane.bulk:
            bulk = self._lanes.other(lane)
            if some_bulk:  # now that may be read as far
                bulk.read_up = False
            else:
                bulk.read_to(newest)
        return found

    def _bulk_before(self, lane: Lane, device: int, id_: int) -> list[tuple[int, bool]]:
        """Bulk events of a device that were not looked at yet, though they came earlier; whether
        each waits on the disk. One that is parked for its app holds back the rest by itself.
        """
        begin = self._lanes.other(lane).id
        found = self._database.read(rows.BULK_BEFORE, (device, begin, id_))
        return [(id_, bool(waits)) for id_, waits in found if id_ not in self._ahead]

    def _enter(self, id_: int, device: int, lane: Lane, *, behind: bool, on_disk: bool) -> bool:
        """Whether an event may be leased: none before it is pending. Else it waits for those.

        `behind` says that one before it waits on the disk, `on_disk` that it does so itself.
        """
        followers = self._followers.get(device)
        if followers is None and not behind:
            self._followers[device] = deque()
            return True
        if on_disk:
            return False
        # The first in any case: it would else be parked after the one before it has looked behind.
        if followers is not None and (not followers or self._following < self._max_followers):
            followers.append((id_, lane.id))
            self._following += 1
        else:
            self._park_behind(device, [id_])
        return False

    def lease_parked(self, app: str, limit: int) -> list[Leased]:
        found = []
        for lane_id, *row in self._parking.take(app, limit):
            self._followers.setdefault(row[1], deque())
            found.append(rows.leased(tuple(row), self._lanes.lane(lane_id)))
        return found

    def parked_apps(self) -> Iterable[str]:
        return self._parking.apps()

    def next_due(self, app: str) -> float | None:
        return self._parking.next_due(app)

    # Taking back

    def settle(self, leased: Leased, settlement: Settlement) -> asyncio.Future[Any]:
        stored: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(behind: settling.Settled | BaseException) -> None:
            if behind is not None and not isinstance(behind, BaseException):
                self._ended(leased, behind)
            tell(stored, behind)

        end = settling.End(leased, settlement, self._clock.now())
        # Who waits behind it cannot go on before; one that comes now is written with it.
        waits = self._some_parked or bool(self._followers.get(leased.event.device))
        self._database.write_item(
            settling.settle, end, answered, must_land=True, patient=leased.lane.bulk or not waits
        )
        return stored

    def _ended(self, leased: Leased, behind: list[tuple[int, int]]) -> None:
        device = leased.event.device
        self._parking.leased.discard(leased.id)
        self._ahead.discard(leased.id)
        followers = self._followers[device]
        # The next event of the device may be known in memory, or on the disk only.
        if followers and (not behind or followers[0] < behind[0]):
            behind = [followers.popleft()]
            self._following -= 1
        if not behind:
            del self._followers[device]
            return
        id_, lane_id = behind[0]
        self._lanes.cursor(self._lanes.lane(lane_id)).turn.append(id_)
        self._tell()

    async def park(self, leased: Leased, parked: Parked) -> None:
        device = leased.event.device
        followers = self._take_followers(device)

        def job(cursor: apsw.Cursor) -> None:
            rows.insert_parked(cursor, leased.id, device, parked)
            rows.insert_behind(cursor, device, followers)

        self._parking.leased.add(leased.id)  # its row may be read before we hear of it
        await self._write_parked(job)
        if late := self._take_followers(device):
            self._park_behind(device, late)
        # From here on the row on the disk holds the device's later events back.
        del self._followers[device]
        self._parking.leased.discard(leased.id)
        self._parking.parked(rows.storable(parked.app), parked.due)
        self._tell()

    def _take_followers(self, device: int) -> list[int]:
        followers = [id_ for id_, _ in self._followers[device]]
        self._followers[device].clear()
        self._following -= len(followers)
        return followers

    def _park_behind(self, device: int, ids: Sequence[int]) -> None:
        self._write_parked(lambda cursor: rows.insert_behind(cursor, device, ids))

    def _write_parked(self, job: Callable[[apsw.Cursor], None]) -> asyncio.Future[None]:
        def landed(future: asyncio.Future[None]) -> None:
            self._unlanded -= 1
            future.cancelled() or future.exception()  # a broken disk ends the process by itself

        self._unlanded += 1
        self._some_parked = True
        future = self._database.write(job, must_land=True)
        future.add_done_callback(landed)
        return future

    def usage(self) -> Usage:
        ((size,),) = self._database.read(BYTES_IN_USE)
        oldest = self._database.read("SELECT received_at FROM events ORDER BY id LIMIT 1")
        return Usage(size, oldest[0][0] if oldest else None)
