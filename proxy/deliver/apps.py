"""Which event is sent next: every app has its own part of what may be in flight, so that a slow,
failing or paused one never slows another, and live events go before bulk ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, Generic, TypeVar

from proxy.clock import Chance
from proxy.config import Delivery
from proxy.deliver.control import Control

READY: Final = 50  # events kept at hand for each app and kind, beyond what is in flight

T = TypeVar("T")


class App(Generic[T]):
    """One app id: what is ready for it, and what is in flight to it."""

    def __init__(self, name: str, control: Control) -> None:
        self.name = name
        self.control = control
        self.ready: dict[bool, deque[T]] = {False: deque(), True: deque()}  # by `bulk`
        self.in_flight: dict[bool, int] = {False: 0, True: 0}
        self._bulk_credit = 0.0

    @property
    def sending(self) -> int:
        return self.in_flight[False] + self.in_flight[True]

    @property
    def has_ready(self) -> bool:
        return bool(self.ready[False] or self.ready[True])

    def limit(self, most: int) -> int:
        """How many may be in flight, of `most`."""
        return min(most, self.control.most)

    def next(self, most: int, settings: Delivery) -> bool | None:
        """Whether a bulk event is next (True) or a live one; None if none may be sent.

        Bulk never takes the live share of what may be in flight. While both kinds are ready, each
        live event earns bulk its share of one.
        """
        bulk_most = max(1, int(most * (1 - settings.live_share)))
        bulk = bool(self.ready[True]) and self.in_flight[True] < bulk_most
        if not self.ready[False]:
            return True if bulk else None
        if bulk and self._bulk_credit >= 1:
            self._bulk_credit -= 1
            return True
        if bulk:
            self._bulk_credit += settings.bulk_share / (1 - settings.bulk_share)
        return False

    def room(self, *, bulk: bool, most: int) -> int:
        """How many more events of this kind to get ready; negative where there are too many."""
        return min(most, READY) - len(self.ready[bulk])

    def lacks(self, *, bulk: bool, most: int) -> int:
        """How many events of this kind to read for it: none before half of those at hand are
        gone.
        """
        room = self.room(bulk=bulk, most=most)
        return room if 2 * room >= min(most, READY) else 0


class Apps(Generic[T]):
    """All apps, and the fair pick among them.

    Half of what may be in flight is divided evenly among the apps, the other half goes to
    whichever needs it: no app can take what another has to have.
    """

    def __init__(self, names: Iterable[str], settings: Delivery, chance: Chance) -> None:
        self._settings = settings
        self._chance = chance
        self._apps: dict[str, App[T]] = {}
        for name in names:
            self.get(name)

    def __iter__(self) -> Iterator[App[T]]:
        return iter(list(self._apps.values()))

    def get(self, name: str) -> App[T]:
        """The app of this name, made if it is new."""
        if name not in self._apps:
            self._apps[name] = App(name, Control(self._settings, self._chance))
        return self._apps[name]

    def picks(self, now: float) -> Iterator[tuple[App[T], T]]:
        """What to send now, one of each app in turn; each counts as in flight from then on, and its
        first request as begun.
        """
        busy = [app for app in self if app.has_ready]
        if not busy:
            return
        total = self._settings.max_concurrency
        own = max(1, total // (2 * len(self._apps)))
        shared = max(0, total - own * len(self._apps))
        shared -= sum(max(0, app.sending - own) for app in self)  # what is left of it
        while busy:
            for app in list(busy):
                more = max(0, app.sending - own)  # than its own
                most = app.limit(own + max(0, shared + more))
                kind = app.next(most, self._settings) if app.sending < most else None
                if kind is None or not app.control.allows(now):
                    busy.remove(app)
                    continue
                app.in_flight[kind] += 1
                shared -= app.sending > own
                app.control.begun(now)
                yield app, app.ready[kind].popleft()
