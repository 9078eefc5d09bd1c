"""Takes events from the spool, has them decided, sends what they became, and settles them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import structlog

from proxy.appstate import AppState
from proxy.clock import Chance, Clock
from proxy.config import Delivery as Settings
from proxy.deliver.apps import App, Apps
from proxy.deliver.attempt import Attempt, Attempts
from proxy.deliver.backoff import next_wait
from proxy.deliver.courtesy import Courtesy
from proxy.deliver.delivery import Delivery
from proxy.deliver.leasing import SLICE, Leasing
from proxy.deliver.prepared import Observers, Prepared
from proxy.deliver.probes import Probes
from proxy.deliver.transport import Transport
from proxy.errors import StorageError
from proxy.event import Event
from proxy.occasionally import Occasionally
from proxy.spool.base import Leased, Parked, Spool
from proxy.states import Fail, Filter, Hold, Outcome, Planned, Settlement

MAX_PARKING: Final = 100  # events at once that are parked
MAX_SETTLING: Final = 1_000  # events at once whose end is being written down

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
        self._sending = Attempts(transport, observers, clock, self._answered)
        self._observers = observers
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._occasionally = Occasionally()
        self._apps: Apps[Delivery] = Apps(apps, settings, chance)
        self._probes = Probes(spool.pauses, self._apps, settings, clock)
        self._leasing = Leasing(spool, self._apps, self._most, Courtesy(settings, clock))
        self._parking: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Future[Any]] = set()
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
        await self._sending.stop(grace_seconds)
        while under_way := self._parking | self._settling:
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
        waits = [max(0.0, at - now) for at in moments if at is not None and at > looked_at]
        if (courtesy := self._leasing.seconds_to_wait()) is not None:
            waits.append(courtesy)
        return min(waits, default=None)

    # Getting ready

    def _lease(self) -> bool:
        """Gets some events ready, and says whether there may be more."""
        if self._stopping or self._is_behind():
            return False
        leased = self._spool.lease_parked("", SLICE)
        for app in self._apps:
            room = app.room(bulk=False, most=self._most(app))
            room += app.room(bulk=True, most=self._most(app))
            # Half of it, so that neither old nor new events keep the others waiting.
            leased += self._spool.lease_parked(app.name, (room + 1) // 2)
        for each in leased:
            self._take(each, has_room=True)
        fresh = self._leasing.fresh()
        for each in fresh:
            self._take(each)
        return bool(leased or fresh)

    def _is_behind(self) -> bool:
        """Whether the disk has to catch up first."""
        return len(self._settling) >= MAX_SETTLING or len(self._parking) >= MAX_PARKING

    def _most(self, app: App[Delivery]) -> int:
        return app.limit(self._settings.max_concurrency)

    def _take(self, leased: Leased, *, has_room: bool = False) -> None:
        prepared = self._prepare(leased.event)
        match prepared.decision:
            case Filter(reason):
                self._settle(leased, prepared, Settlement("filtered", reason))
            case Fail(reason, detail):
                self._settle(leased, prepared, Settlement("dead", reason, detail))
            case Hold(reason, seconds):
                if seconds is None:
                    self._say("event_held", leased, reason=reason)
                    seconds = self._settings.retry_max_seconds
                due = self._clock.now() + seconds
                parked = Parked(due, "", leased.attempts, None, leased.done, leased.refusal)
                self._soon(self._parking, self._spool.park(leased, parked))
            case _:
                self._place(Delivery(leased, prepared), has_room=has_room)

    def _place(self, delivery: Delivery, *, has_room: bool = False) -> None:
        """Puts a delivery where its next request is to be sent from, or on the disk if there is no
        room for it.
        """
        leased = delivery.leased
        if delivery.next is None:  # all was answered before
            self._settle(leased, delivery.prepared, delivery.settlement())
            return
        self._leasing.serves(leased.lane, delivery.app)
        app = self._apps.get(delivery.app)
        now = self._clock.now()
        if has_room or app.room(bulk=delivery.bulk, most=self._most(app)) > 0:
            app.ready[delivery.bulk].append(delivery)
            return
        parked = delivery.parked(now, leased.attempts, leased.first_attempt_at)
        self._soon(self._parking, self._spool.park(leased, parked))

    # Sending

    def _send_ready(self) -> None:
        now = self._clock.now()
        for claim in self._probes.claims(now):
            self._soon(self._parking, claim())
        if self._is_behind():
            return
        for app, delivery in self._apps.picks(now):
            is_probe = app.control.paused is not None  # nothing else is picked then
            self._sending.begin(app, delivery, is_probe=is_probe)

    def _soon(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            self._wake.set()
            _look_at(task)

        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(ended)

    def _answered(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """Goes on with a delivery: with its next request for this app at once, or with another app
        when that has room. Otherwise it is settled, or has to wait.
        """
        app, delivery = attempt.app, attempt.delivery
        parked = None
        if outcome is None:
            pass  # it is sent again at the next start
        elif outcome.kind == "misconfigured":
            parked = self._pause(app, delivery, outcome)
        elif outcome.kind == "retry":
            parked = self._wait(delivery, attempt.planned, outcome)
        else:
            delivery.answered(outcome)
            if attempt.is_probe:
                self._probes.resume(app)
            if delivery.next is None:
                self._settle(delivery.leased, delivery.prepared, delivery.settlement())
            elif delivery.app == app.name and not self._probes.paused(app):
                app.control.begun(self._clock.now())
                self._sending.begin(app, delivery, is_probe=False)
                return
        app.in_flight[delivery.bulk] -= 1
        self._wake.set()
        if parked is not None:
            self._soon(self._parking, self._spool.park(delivery.leased, parked))
        elif delivery.next is not None and not self._stopping:
            self._place(delivery)

    def _pause(self, app: App[Delivery], delivery: Delivery, outcome: Outcome) -> Parked:
        """Holds back everything for an app that its settings keep out. Waiting for them to be
        mended is nobody's failed attempt: the event never runs out of tries.
        """
        mend = "check the app id, the URL and the keys of this source; its events are kept"
        self._say("kochava_refuses_this_app", delivery.leased, reason=outcome.reason, mend=mend)
        self._probes.pause(app, outcome.reason)
        return delivery.parked(self._clock.now(), delivery.leased.attempts, None)

    def _wait(self, delivery: Delivery, planned: Planned, outcome: Outcome) -> Parked | None:
        """How it waits for its next try; gives it up when it has been tried long enough."""
        settings, leased, now = self._settings, delivery.leased, self._clock.now()
        attempt = leased.attempts + 1
        first = leased.first_attempt_at if leased.first_attempt_at is not None else now
        if now - first >= settings.retry_horizon_hours * 3_600:
            reason = f"retries_exhausted:{outcome.reason}"
            settlement = Settlement("dead", reason, "", planned.outgoing, outcome)
            delivery.give_up()
            self._settle(leased, delivery.prepared, settlement)
            return None
        base, longest = settings.retry_base_seconds, settings.retry_max_seconds
        wait = next_wait(attempt, base, longest, outcome.retry_after, self._chance)
        self._say("delivery_retried", leased, reason=outcome.reason)
        return delivery.parked(now + wait, attempt, first)

    def _settle(self, leased: Leased, prepared: Prepared, settlement: Settlement) -> None:
        if settlement.state == "dead":
            self._say("event_dead", leased, reason=settlement.reason)

        def settled(future: asyncio.Future[Any]) -> None:
            if self._is_behind():
                self._wake.set()
            self._settling.discard(future)
            if _look_at(future) and prepared.message is not None:
                self._observers.settled(prepared.message, settlement)

        future = self._spool.settle(leased, settlement)
        self._settling.add(future)
        future.add_done_callback(settled)

    def _say(self, event: str, leased: Leased, reason: str, **more: str) -> None:
        """Logs what went wrong, once for many of its kind: a Kochava that is down concerns every
        event there is.
        """
        source = leased.event.source
        times = self._occasionally.count(self._clock.now(), event, source, reason)
        if times:
            _log.warning(event, source=source, reason=reason, times=times, **more)


def _look_at(done: asyncio.Future[Any]) -> bool:
    """Whether it went well. If not, the event stays pending on the disk, and the database has
    raised the alarm already.
    """
    error = None if done.cancelled() else done.exception()
    if error is None:
        return not done.cancelled()
    if not isinstance(error, StorageError):
        raise error
    _log.error("result_not_stored", error=str(error))
    return False
