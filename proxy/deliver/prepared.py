"""What the forwarder asks of the parts around it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from proxy.kochava import Request
from proxy.segment import Message, Postback
from proxy.states import Decision, Outcome, Settlement


class Prepared(msgspec.Struct, frozen=True):
    """What the pipeline made of an event; `message` is None where the row could not be read."""

    message: Message | Postback | None
    decision: Decision


class Observers(Protocol):
    """Whoever looks on; none of them can raise."""

    def attempted(
        self, message: Message | Postback, request: Request, outcome: Outcome, attempt: int
    ) -> None: ...

    def settled(self, message: Message | Postback, settlement: Settlement) -> None: ...
