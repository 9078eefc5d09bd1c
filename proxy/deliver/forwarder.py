"""Takes events from the spool, has them decided, sends what they became, and settles them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final

import structlog

from proxy.appstate import AppState
from proxy.clock import Chance, Clock
from proxy.config import Delivery as Settings
from proxy.deliver.apps import App, Apps
from proxy.deliver.attempt import Attempt
from proxy.deliver.backoff import next_wait
from proxy.deliver.delivery import Delivery
from proxy.deliver.prepared import Observers, Prepared
from proxy.deliver.probes import Probes
from proxy.deliver.transport import Transport
from proxy.errors import StorageError
from proxy.event import Event
from proxy.occasionally import Occasionally
from proxy.spool.base import Lane, Leased, Parked, Spool
from proxy.states import Fail, Filter, Hold, Outcome, Planned, Settlement

#: Events leased from a lane at a time, so that deciding about them never holds up the door.
SLICE: Final = 5
MAX_SETTLING: Final = 100  # events at once that are settled or parked without being sent
MAX_APPS: Final = 50  # of one lane, remembered as those that it serves

_log = structlog.get_logger(room="deliver")


class Forwarder:
    """Keeps up to `max_concurrency` events in flight. `run` ends after `stop`."""

    def __init__(
        self,
        spool: Spool,
        prepare: Callable[[Event], Prepared],
        transport: Transport,
        observers: Observers,
        settings: Settings,
        clock: Clock,
        chance: Chance,
        apps: Iterable[str] = (),
    ) -> None:
        """`apps` are those that the config names."""
        self._spool = spool
        self._prepare = prepare
        self._attempt = Attempt(transport, observers, clock)
        self._observers = observers
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._occasionally = Occasionally()
        self._apps: Apps[Delivery] = Apps(apps, settings, chance)
        self._probes = Probes(spool.pauses, self._apps, settings, clock)
        #: The apps that a lane's events turned out to be for, the last seen last.
        self._serves: dict[int, dict[str, None]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._rounds = itertools.count(1)
        self._last: dict[int, int] = {}  # the round in which a lane last handed anything out
        self._wake = asyncio.Event()
        self._stopping = False
        spool.on_news(self._wake.set)

    async def run(self) -> None:
        """Leases and sends until stopped.

        Raises:
            StorageError: the spool cannot be used any more.

        """
        for name in filter(None, self._spool.parked_apps()):
            self._apps.get(name)
        while not self._stopping:
            self._wake.clear()
            looked_at = self._clock.now()
            while self._lease():
                self._send_ready()
                await asyncio.sleep(0)
                looked_at = self._clock.now()
            self._send_ready()
            await self._clock.wait(self._wake, self._seconds_to_wait(looked_at))

    async def stop(self, grace_seconds: float) -> None:
        """No new work; what is in flight may end. What does not is sent again at the next start."""
        self._stopping = True
        self._wake.set()
        if under_way := self._sending | self._settling:
            _, late = await asyncio.wait(under_way, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def states(self) -> list[AppState]:
        """How delivery to each app goes."""
        return [
            app.control.state(app.name, app.sending, sum(map(len, app.ready.values())))
            for app in self._apps
        ]

    def _seconds_to_wait(self, looked_at: float) -> float | None:
        """Until something is due that was not when it was looked for."""
        moments = [self._spool.next_due("")]
        moments += (app.control.next_at(looked_at) for app in self._apps)
        moments += (self._spool.next_due(app.name) for app in self._apps)
        now = self._clock.now()
        waits = (max(0.0, at - now) for at in moments if at is not None and at > looked_at)
        return min(waits, default=None)

    # Getting ready

    def _lease(self) -> bool:
        """Gets some events ready, and says whether there may be more."""
        if self._stopping or len(self._settling) >= MAX_SETTLING:
            return False
        leased = self._spool.lease_parked("", SLICE)
        for app in self._apps:
            room = app.room(bulk=False, most=self._most(app))
            room += app.room(bulk=True, most=self._most(app))
            # Half of it, so that neither old nor new events keep the others waiting.
            leased += self._spool.lease_parked(app.name, (room + 1) // 2)
        for each in leased:
            self._take(each, has_room=True)
        found = len(leased)
        for lane in self._lanes_in_turn():
            fresh = self._spool.lease(lane, self._wanted(lane))
            for each in fresh:
                self._take(each)
            if fresh:
                self._last[lane.id] = next(self._rounds)
            found += len(fresh)
        return found > 0

    def _lanes_in_turn(self) -> list[Lane]:
        """Live ones first, of these the one that waits longest: several may serve one app."""
        return sorted(self._spool.lanes(), key=lambda lane: (lane.bulk, self._last.get(lane.id, 0)))

    def _wanted(self, lane: Lane) -> int:
        """How many events a lane may hand out: as many as its apps have room for. An event that
        turns out to be for another app than these is parked for it, if that has none.
        """
        served = self._serves.get(lane.id)
        if not served:
            return SLICE
        apps = [self._apps.get(name) for name in served]
        rooms = (app.room(bulk=lane.bulk, most=self._most(app)) for app in apps)
        return min(SLICE, sum(room for room in rooms if room > 0))

    def _most(self, app: App[Delivery]) -> int:
        return app.limit(self._settings.max_concurrency)

    def _take(self, leased: Leased, *, has_room: bool = False) -> None:
        prepared = self._prepare(leased.event)
        match prepared.decision:
            case Filter(reason):
                self._settle_soon(leased, prepared, Settlement("filtered", reason))
            case Fail(reason, detail):
                self._settle_soon(leased, prepared, Settlement("dead", reason, detail))
            case Hold(reason, seconds):
                if seconds is None:
                    self._say("event_held", leased, reason=reason)
                    seconds = self._settings.retry_max_seconds
                due = self._clock.now() + seconds
                parked = Parked(due, "", leased.attempts, None, leased.done, leased.refusal)
                self._soon(self._settling, partial(self._spool.park, leased, parked))
            case _:
                self._place(Delivery(leased, prepared), has_room=has_room)

    def _place(self, delivery: Delivery, *, has_room: bool = False) -> None:
        """Puts a delivery where its next request is to be sent from, or on the disk if there is no
        room for it.
        """
        leased = delivery.leased
        if delivery.next is None:  # all was answered before
            self._settle_soon(leased, delivery.prepared, delivery.settlement())
            return
        served = self._serves.setdefault(leased.lane.id, {})
        served.pop(delivery.app, None)
        served[delivery.app] = None
        if len(served) > MAX_APPS:
            del served[next(iter(served))]
        app = self._apps.get(delivery.app)
        now = self._clock.now()
        if has_room or app.room(bulk=delivery.bulk, most=self._most(app)) > 0:
            app.ready[delivery.bulk].append(delivery)
            return
        parked = delivery.parked(now, leased.attempts, leased.first_attempt_at)
        self._soon(self._settling, partial(self._spool.park, leased, parked))

    # Sending

    def _send_ready(self) -> None:
        now = self._clock.now()
        for claim in self._probes.claims(now):
            self._soon(self._settling, claim)
        for app, delivery in self._apps.picks(now):
            is_probe = app.control.paused is not None  # nothing else is picked then
            self._soon(self._sending, partial(self._send, app, delivery, is_probe=is_probe))

    def _soon(
        self, tasks: set[asyncio.Task[None]], work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        async def guarded() -> None:
            try:
                await work()
            except StorageError as error:
                # The event stays pending on the disk; the database has raised the alarm already.
                _log.error("result_not_stored", error=str(error))

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            self._wake.set()

        task = asyncio.create_task(guarded())
        tasks.add(task)
        task.add_done_callback(ended)

    async def _send(self, app: App[Delivery], delivery: Delivery, *, is_probe: bool) -> None:
        """Sends what a delivery has for one app."""
        try:
            begun = True  # by the pick
            while (planned := delivery.next) is not None and delivery.app == app.name:
                if not begun:
                    if self._probes.paused(app):
                        break
                    app.control.begun(self._clock.now())
                begun = False
                outcome = await self._attempt(app.control, delivery, planned)
                if outcome.kind == "misconfigured":
                    await self._pause(app, delivery, outcome)
                    return
                if outcome.kind == "retry":
                    await self._wait(delivery, planned, outcome)
                    return
                delivery.answered(outcome)
                if is_probe:
                    self._probes.resume(app)
                    is_probe = False
            if delivery.next is None:
                await self._settle(delivery.leased, delivery.prepared, delivery.settlement())
        finally:
            app.in_flight[delivery.bulk] -= 1
        if delivery.next is not None and not self._stopping:
            self._place(delivery)

    async def _pause(self, app: App[Delivery], delivery: Delivery, outcome: Outcome) -> None:
        """Holds back everything for an app that its settings keep out. Waiting for them to be
        mended is nobody's failed attempt: the event never runs out of tries.
        """
        mend = "check the app id, the URL and the keys of this source; its events are kept"
        self._say("kochava_refuses_this_app", delivery.leased, reason=outcome.reason, mend=mend)
        self._probes.pause(app, outcome.reason)
        parked = delivery.parked(self._clock.now(), delivery.leased.attempts, None)
        await self._spool.park(delivery.leased, parked)

    async def _wait(self, delivery: Delivery, planned: Planned, outcome: Outcome) -> None:
        """Parks an event for its next try, or gives it up when it has been tried long enough."""
        settings, leased, now = self._settings, delivery.leased, self._clock.now()
        attempt = leased.attempts + 1
        first = leased.first_attempt_at if leased.first_attempt_at is not None else now
        if now - first >= settings.retry_horizon_hours * 3_600:
            reason = f"retries_exhausted:{outcome.reason}"
            settlement = Settlement("dead", reason, "", planned.outgoing, outcome)
            await self._settle(leased, delivery.prepared, settlement)
            return
        base, longest = settings.retry_base_seconds, settings.retry_max_seconds
        wait = next_wait(attempt, base, longest, outcome.retry_after, self._chance)
        self._say("delivery_retried", leased, reason=outcome.reason)
        await self._spool.park(leased, delivery.parked(now + wait, attempt, first))

    def _settle_soon(self, leased: Leased, prepared: Prepared, settlement: Settlement) -> None:
        self._soon(self._settling, partial(self._settle, leased, prepared, settlement))

    async def _settle(self, leased: Leased, prepared: Prepared, settlement: Settlement) -> None:
        if settlement.state == "dead":
            self._say("event_dead", leased, reason=settlement.reason)
        await self._spool.settle(leased, settlement)
        if prepared.message is not None:
            self._observers.settled(prepared.message, settlement)

    def _say(self, event: str, leased: Leased, reason: str, **more: str) -> None:
        """Logs what went wrong, once for many of its kind: a Kochava that is down concerns every
        event there is.
        """
        source = leased.event.source
        times = self._occasionally.count(self._clock.now(), event, source, reason)
        if times:
            _log.warning(event, source=source, reason=reason, times=times, **more)
