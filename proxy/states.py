"""What becomes of an event, as values: the decision, the outcome of an attempt, the settlement.

pending --decision--> Filter -----------------------------> filtered
                      Fail -------------------------------> dead
                      Hold -------------------------------> pending, later
                      Deliver --outcome--> delivered -----> delivered
                                           retry ---------> pending, later; dead past the horizon
                                           refused -------> dead
                                           misconfigured -> pending, later, for ever
"""

from __future__ import annotations

from typing import Literal

import msgspec

from proxy.kochava import Request


class Outgoing(msgspec.Struct, frozen=True):
    """One HTTP request, ready to send: the bytes are final."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


class Planned(msgspec.Struct, frozen=True):
    """A request that a mapping asked for, and the bytes it became."""

    request: Request
    outgoing: Outgoing


class Deliver(msgspec.Struct, frozen=True):
    """Send these, in this order; the event is delivered when all of them are."""

    requests: tuple[Planned, ...]


class Filter(msgspec.Struct, frozen=True):
    """Send nothing, on purpose."""

    reason: str


class Fail(msgspec.Struct, frozen=True):
    """A plugin broke on this message, or the row cannot be read: it goes to the dead letters."""

    reason: str
    detail: str


class Hold(msgspec.Struct, frozen=True):
    """Cannot be decided yet: keep it and look again, after `seconds` if that is known. Without it
    today's configuration is at fault, which somebody should be told.
    """

    reason: str
    seconds: float | None = None


Decision = Deliver | Filter | Fail | Hold


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt ended.

    `kind`: delivered; retry (not now); refused (never, as it is); misconfigured (this app's
    settings are at fault, so keep its events). `retry_after` is in seconds from the answer.
    `status` and `body` are the answer's, None and "" where none came.
    """

    kind: Literal["delivered", "retry", "refused", "misconfigured"]
    reason: str = ""
    status: int | None = None
    body: str = ""
    retry_after: float | None = None


class Settlement(msgspec.Struct, frozen=True):
    """The end of an event. `detail` is for people: a traceback, or what Kochava answered."""

    state: Literal["delivered", "filtered", "dead"]
    reason: str = ""
    detail: str = ""
    request: Outgoing | None = None
    response: Outcome | None = None
