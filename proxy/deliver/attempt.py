"""Requests under way, each sent once: what became of them, for the app's control and for observers
too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from proxy.clock import Clock
from proxy.deliver.apps import App
from proxy.deliver.delivery import Delivery
from proxy.deliver.outcome import Peer, judge
from proxy.deliver.prepared import Observers
from proxy.deliver.transport import Answer, Reply, Transport
from proxy.errors import TransportError
from proxy.kochava import IdentityLink, Request, SegmentTrack
from proxy.states import Outcome, Planned

_log = structlog.get_logger(room="deliver")


class Attempt:
    """Sending `planned`, the next request of `delivery`."""

    __slots__ = ("app", "began", "delivery", "give_up", "is_probe", "planned")

    def __init__(
        self, app: App[Delivery], delivery: Delivery, planned: Planned, began: float, *,
        is_probe: bool,
    ) -> None:  # fmt: skip
        self.app = app
        self.delivery = delivery
        self.planned = planned
        self.began = began
        self.is_probe = is_probe
        self.give_up: Callable[[], object]


class Attempts:
    """All that are under way. Without a task of its own each: an event should cost little more
    than its request.
    """

    def __init__(
        self,
        transport: Transport,
        observers: Observers,
        clock: Clock,
        ended: Callable[[Attempt, Outcome | None], None],
    ) -> None:
        """`ended` is told how each ends; None: it was given up."""
        self._transport = transport
        self._observers = observers
        self._clock = clock
        self._ended = ended
        self._under_way: set[Attempt] = set()
        self._one_ended = asyncio.Event()

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, app: App[Delivery], delivery: Delivery, *, is_probe: bool) -> None:
        """Sends the next request of a delivery, which counts as begun already."""
        planned = delivery.next
        assert planned is not None  # the caller has looked
        attempt = Attempt(app, delivery, planned, self._clock.now(), is_probe=is_probe)
        self._under_way.add(attempt)
        attempt.give_up = self._transport.begin(
            planned.outgoing, lambda answer: self._answered(attempt, answer)
        )

    def _answered(self, attempt: Attempt, answer: Answer) -> None:
        if attempt not in self._under_way:  # given up in the turn in which it was answered
            return
        self._under_way.remove(attempt)
        self._one_ended.set()
        now = self._clock.now()
        outcome = self._outcome(attempt.planned.request, answer, now)
        attempt.app.control.ended(now, now - attempt.began, outcome)
        delivery = attempt.delivery
        if (message := delivery.prepared.message) is not None:
            number = delivery.leased.attempts + 1
            self._observers.attempted(message, attempt.planned.request, outcome, number)
        self._ended(attempt, outcome)

    def _outcome(self, request: Request, answer: Answer, now: float) -> Outcome:
        """Whatever the other side does, it is one."""
        if isinstance(answer, TransportError):
            return Outcome("retry", answer.reason)
        try:
            if isinstance(answer, Reply):
                return judge(answer, now, _peer(request))
            raise answer
        except Exception:  # noqa: BLE001  a fault of ours must not strand the event
            _log.exception("attempt_failed")
            return Outcome("retry", "internal_error")

    async def stop(self, grace_seconds: float) -> None:
        """Returns when all have ended. What has not by then is given up."""
        try:
            async with asyncio.timeout(grace_seconds):
                while self._under_way:
                    self._one_ended.clear()
                    await self._one_ended.wait()
        except TimeoutError:
            now = self._clock.now()
            while self._under_way:
                attempt = self._under_way.pop()
                attempt.give_up()
                attempt.app.control.ended(now, now - attempt.began, None)
                self._ended(attempt, None)


def _peer(request: Request) -> Peer:
    match request:
        case SegmentTrack():
            return "segment"
        case IdentityLink():
            return "link"
        case _:
            return "track"
