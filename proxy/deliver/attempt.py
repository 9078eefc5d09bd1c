"""One request sent once: what became of it, for the app's control and for observers too."""

from __future__ import annotations

import structlog

from proxy.clock import Clock
from proxy.deliver.control import Control
from proxy.deliver.delivery import Delivery
from proxy.deliver.outcome import Peer, judge
from proxy.deliver.prepared import Observers
from proxy.deliver.transport import Transport
from proxy.errors import TransportError
from proxy.kochava import IdentityLink, Request, SegmentTrack
from proxy.states import Outcome, Planned

_log = structlog.get_logger(room="deliver")


class Attempt:
    """Never raises for what the other side does."""

    def __init__(self, transport: Transport, observers: Observers, clock: Clock) -> None:
        self._transport = transport
        self._observers = observers
        self._clock = clock

    async def __call__(self, control: Control, delivery: Delivery, planned: Planned) -> Outcome:
        """The outcome of sending `planned`, the next request of `delivery`."""
        began, outcome = self._clock.now(), None
        try:
            outcome = await self._send(planned)
        finally:
            now = self._clock.now()
            control.ended(now, now - began, outcome)
        if delivery.prepared.message is not None:
            number = delivery.leased.attempts + 1
            self._observers.attempted(delivery.prepared.message, planned.request, outcome, number)
        return outcome

    async def _send(self, planned: Planned) -> Outcome:
        try:
            reply = await self._transport.send(planned.outgoing)
            return judge(reply, self._clock.now(), _peer(planned.request))
        except TransportError as error:
            return Outcome("retry", error.reason)
        except Exception:  # noqa: BLE001  a fault of ours must not strand the event
            _log.exception("attempt_failed")
            return Outcome("retry", "internal_error")


def _peer(request: Request) -> Peer:
    match request:
        case SegmentTrack():
            return "segment"
        case IdentityLink():
            return "link"
        case _:
            return "track"
