"""Takes events from the spool, has them decided, sends what they became, and settles them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec
import structlog

from proxy.clock import Chance, Clock
from proxy.config import Delivery
from proxy.deliver.backoff import backoff
from proxy.deliver.lanes import Lanes, device_keys
from proxy.deliver.outcome import judge
from proxy.deliver.transport import Transport
from proxy.errors import StorageError, TransportError
from proxy.event import Event
from proxy.kochava import IdentityLink, Request
from proxy.occasionally import Occasionally
from proxy.segment import Message
from proxy.spool.base import Leased, Parked, Spool
from proxy.states import Decision, Deliver, Fail, Filter, Hold, Outcome, Planned, Settlement

DIGEST_BYTES: Final = 8

_log = structlog.get_logger(room="deliver")


class Prepared(msgspec.Struct, frozen=True):
    """What the pipeline made of an event; `message` is None where the row could not be read."""

    message: Message | None
    decision: Decision


class Observers(Protocol):
    """Whoever looks on; none of them can raise."""

    def attempted(
        self, message: Message, request: Request, outcome: Outcome, attempt: int
    ) -> None: ...

    def settled(self, message: Message, settlement: Settlement) -> None: ...


class Forwarder:
    """Keeps up to `max_concurrency` events in flight. `run` ends after `stop`."""

    def __init__(
        self,
        spool: Spool,
        prepare: Callable[[Event], Prepared],
        transport: Transport,
        observers: Observers,
        settings: Delivery,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._spool = spool
        self._prepare = prepare
        self._transport = transport
        self._observers = observers
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._lanes = Lanes()
        self._occasionally = Occasionally()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._stopping = False
        self._leasing: asyncio.Task[list[Leased]] | None = None

    async def run(self) -> None:
        """Leases and sends until stopped.

        Raises:
            StorageError: the spool cannot be used any more.

        """
        while not self._stopping:
            room = self._settings.max_concurrency - len(self._in_flight)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            self._leasing = asyncio.ensure_future(self._spool.lease(room))
            try:
                batch = await self._leasing
            except asyncio.CancelledError:
                if self._stopping:
                    return
                raise
            if self._stopping:  # the lease ended just before it could be cancelled
                return
            for leased in batch:
                # Prepared here, in order, so that a message finds what those before it taught.
                self._begin(leased, self._prepare(leased.event))

    def _begin(self, leased: Leased, prepared: Prepared) -> None:
        decision = prepared.decision
        requests = decision.requests if isinstance(decision, Deliver) else ()
        keys = device_keys(leased.event.source, requests)
        task = asyncio.create_task(self._handle(leased, prepared, self._lanes.ahead(keys)))
        self._lanes.enter(keys, task)
        self._in_flight.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._room.set()

    async def stop(self, grace_seconds: float) -> None:
        """No new work; what is in flight may end. What does not is sent again at the next start."""
        self._stopping = True
        self._room.set()
        if self._leasing is not None:
            self._leasing.cancel()
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _handle(
        self, leased: Leased, prepared: Prepared, ahead: set[asyncio.Task[None]]
    ) -> None:
        if ahead:
            await asyncio.wait(ahead)
        try:
            match prepared.decision:
                case Filter(reason):
                    await self._settle(leased, prepared, Settlement("filtered", reason))
                case Fail(reason, detail):
                    await self._settle(leased, prepared, Settlement("dead", reason, detail))
                case Hold(reason):
                    self._say("event_held", leased, reason=reason)
                    await self._park(leased, leased.done)
                case Deliver(requests):
                    await self._deliver(leased, prepared, requests)
        except StorageError as error:
            # The event stays pending on the disk; the database has raised the alarm already.
            _log.error("result_not_stored", error=str(error))

    async def _deliver(
        self, leased: Leased, prepared: Prepared, requests: Iterable[Planned]
    ) -> None:
        """Sends in order. A refusal does not stop the rest (links of other devices); a request
        that must wait does.
        """
        attempt = leased.attempts + 1
        done = set(leased.done)
        refusal: tuple[Planned, Outcome] | None = None
        for planned, digest in _digests(requests):
            if digest in done:
                continue
            outcome = await self._attempt(planned)
            if prepared.message is not None:
                self._observers.attempted(prepared.message, planned.request, outcome, attempt)
            if outcome.kind == "delivered":
                done.add(digest)
            elif outcome.kind == "refused":
                refusal = refusal or (planned, outcome)
            else:
                await self._wait(leased, prepared, planned, outcome, frozenset(done))
                return
        if refusal is None:
            await self._settle(leased, prepared, Settlement("delivered"))
            return
        planned, outcome = refusal
        settlement = Settlement("dead", outcome.reason, "", planned.outgoing, outcome)
        await self._settle(leased, prepared, settlement)

    async def _attempt(self, planned: Planned) -> Outcome:
        must_confirm = not isinstance(planned.request, IdentityLink)
        try:
            reply = await self._transport.send(planned.outgoing)
            return judge(reply, self._clock.now(), must_confirm=must_confirm)
        except TransportError as error:
            return Outcome("retry", error.reason)
        except Exception:  # noqa: BLE001  a fault of ours must not strand the event
            _log.exception("attempt_failed")
            return Outcome("retry", "internal_error")

    async def _wait(
        self,
        leased: Leased,
        prepared: Prepared,
        planned: Planned,
        outcome: Outcome,
        done: frozenset[bytes],
    ) -> None:
        """Parks an event for its next try, or gives it up when it has been tried long enough."""
        settings = self._settings
        if outcome.kind == "misconfigured":
            mend = "check the app id, the URL and the keys of this source; its events are kept"
            self._say("kochava_refuses_this_app", leased, reason=outcome.reason, mend=mend)
            await self._park(leased, done)
            return
        now = self._clock.now()
        attempt = leased.attempts + 1
        first = leased.first_attempt_at if leased.first_attempt_at is not None else now
        if now - first >= settings.retry_horizon_hours * 3_600:
            settlement = Settlement(
                "dead", f"retries_exhausted:{outcome.reason}", "", planned.outgoing, outcome
            )
            await self._settle(leased, prepared, settlement)
            return
        base, longest = settings.retry_base_seconds, settings.retry_max_seconds
        wait = max(backoff(attempt, base, longest, self._chance), outcome.retry_after or 0.0)
        self._say("delivery_retried", leased, reason=outcome.reason)
        await self._spool.park(Parked(leased.id, now + wait, attempt, first, done))

    def _say(self, event: str, leased: Leased, reason: str, **more: str) -> None:
        """Logs what went wrong, once for many of its kind: a Kochava that is down concerns every
        event there is.
        """
        source = leased.event.source
        times = self._occasionally.count(self._clock.now(), event, source, reason)
        if times:
            _log.warning(event, source=source, reason=reason, times=times, **more)

    async def _park(self, leased: Leased, done: frozenset[bytes]) -> None:
        """Keeps an event whose waiting is nobody's failed attempt: it never runs out of tries, and
        its horizon begins anew.
        """
        due = self._clock.now() + self._settings.retry_max_seconds
        await self._spool.park(Parked(leased.id, due, leased.attempts, None, done))

    async def _settle(self, leased: Leased, prepared: Prepared, settlement: Settlement) -> None:
        if settlement.state == "dead":
            self._say("event_dead", leased, reason=settlement.reason)
        await self._spool.settle(leased, settlement)
        if prepared.message is not None:
            self._observers.settled(prepared.message, settlement)


def _digests(requests: Iterable[Planned]) -> Iterable[tuple[Planned, bytes]]:
    """Each with what tells a request that was delivered from one that a changed mapping makes
    anew, and from one before it that is the same.
    """
    times: Counter[bytes] = Counter()
    for planned in requests:
        content = planned.outgoing.url.encode() + b"\0" + planned.outgoing.body
        salt = times[content].to_bytes(4)
        times[content] += 1
        yield planned, hashlib.blake2b(content, digest_size=DIGEST_BYTES, salt=salt).digest()
