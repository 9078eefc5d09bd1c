"""Reading from the lanes: as many events as their apps have room for, live ones first."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from proxy.deliver.apps import App, Apps
from proxy.deliver.courtesy import Courtesy
from proxy.spool.base import Lane, Leased, Spool

LEASE: Final = 50  # events read from a lane at a time
#: Of these handed out at a time, so that deciding about them never holds up the door; fewer of
#: those that are not urgent while others are expected that are.
SLICE: Final = 20
BULK_SLICE: Final = 2
MAX_APPS: Final = 50  # of one lane, remembered as those that it serves


class Leasing:
    """`most` says how many events may be in flight to an app."""

    def __init__(
        self, spool: Spool, apps: Apps[Any], most: Callable[[App[Any]], int], courtesy: Courtesy
    ) -> None:
        self._spool = spool
        self._apps = apps
        self._most = most
        self._courtesy = courtesy
        self._held_back = False  # bulk ones, out of courtesy
        self._at_hand: dict[int, deque[Leased]] = {}  # by lane
        #: The apps that a lane's events turned out to be for, the last seen last.
        self._serves: dict[int, dict[str, None]] = {}
        self._rounds = itertools.count(1)
        self._last: dict[int, int] = {}  # the round in which a lane last handed anything out

    def serves(self, lane: Lane, app: str) -> None:
        """An event of this lane is for this app."""
        served = self._serves.setdefault(lane.id, {})
        served.pop(app, None)
        served[app] = None
        if len(served) > MAX_APPS:
            del served[next(iter(served))]

    def fresh(self) -> list[Leased]:
        """A few events of each lane."""
        found: list[Leased] = []
        self._held_back = False
        for lane in self._lanes_in_turn():
            at_hand = self._at_hand.setdefault(lane.id, deque())
            if not at_hand:
                at_hand += self._spool.lease(lane, self._wanted(lane))
            if not at_hand:
                continue
            if lane.bulk and self._courtesy.seconds_to_wait():
                self._held_back = True
                continue
            self._last[lane.id] = next(self._rounds)
            few = lane.bulk and self._courtesy.live_is_expected
            count = min(BULK_SLICE if few else SLICE, len(at_hand))
            self._courtesy.handed_out(count, bulk=lane.bulk)
            found += (at_hand.popleft() for _ in range(count))
        return found

    def seconds_to_wait(self) -> float | None:
        """Until there may be more of what was not handed out; None if that is nothing."""
        return self._courtesy.seconds_to_wait() if self._held_back else None

    def _lanes_in_turn(self) -> list[Lane]:
        """Live ones first, of these the one that waits longest: several may serve one app."""
        return sorted(self._spool.lanes(), key=lambda lane: (lane.bulk, self._last.get(lane.id, 0)))

    def _wanted(self, lane: Lane) -> int:
        """An event that turns out to be for another app than these is parked for it, if that has
        no room. Not a few at a time: reading many costs little more.
        """
        served = self._serves.get(lane.id)
        if not served:
            return SLICE
        apps = [self._apps.get(name) for name in served]
        return min(LEASE, sum(app.lacks(bulk=lane.bulk, most=self._most(app)) for app in apps))
