"""The durable queue between receiving and delivering, whatever it is kept in.

The states of an event, and who moves it:

    append ──> duplicate                        same message id within the window: only counted
       └─────> pending ──lease──> leased ──settle──> delivered   gone, counted
                  ^                  │           ├─> filtered    gone, counted with its reason
                  │                  │           └─> dead        kept with reason, request, answer
                  │                  └──park────────> pending, waits for `due` and for its app
                  └── restart: every lease is forgotten, so what was in flight is leased again

Only `append` creates events and only `settle` ends them; time-outs, shutdown and crashes do
neither. A lease is held in memory alone.

Order: an event is never handed out while an earlier one of its device (`Event.device`) is pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from proxy.event import Event
from proxy.states import Outcome, Outgoing, Settlement


class Lane(msgspec.Struct, frozen=True):
    """A queue of fresh events: a source's live ones, or its bulk ones."""

    id: int
    source: str
    bulk: bool


class Part(msgspec.Struct, frozen=True):
    """The devices that one of `workers` processes delivers for; the first is 0."""

    worker: int = 0
    workers: int = 1

    @property
    def modulo(self) -> tuple[int, int]:
        """Those whose hash leaves, divided by the first, the second as remainder."""
        return self.workers, self.worker


class Refusal(msgspec.Struct, frozen=True):
    """That one request of an event was refused for good while others are still to be sent."""

    outgoing: Outgoing
    outcome: Outcome


class Leased(msgspec.Struct, frozen=True):
    """An event handed out for delivery, with what earlier attempts left behind.

    `first_attempt_at` is in epoch seconds, None before the first. `done` holds the digests of
    those of its requests that were answered for good, `refusal` the first that was refused.
    """

    id: int
    event: Event
    lane: Lane
    attempts: int = 0
    first_attempt_at: float | None = None
    done: frozenset[bytes] = frozenset()
    refusal: Refusal | None = None


class Parked(msgspec.Struct, frozen=True):
    """What a leased event waits for: the time `due` (epoch seconds), and an app that takes
    requests ("" for none).
    """

    due: float
    app: str = ""
    attempts: int = 0
    first_attempt_at: float | None = None
    done: frozenset[bytes] = frozenset()
    refusal: Refusal | None = None


class Pause(msgspec.Struct, frozen=True):
    """That an app's settings are refused, why, and when the next probe of it is due (epoch
    seconds).
    """

    reason: str
    probe_at: float


class Counts(msgspec.Struct, kw_only=True):
    """The ledger of one source."""

    received: int = 0
    rejected: dict[str, int] = {}
    duplicate: int = 0
    filtered: dict[str, int] = {}
    pending: int = 0
    delivered: int = 0
    dead: int = 0
    oldest_pending_seconds: float | None = None


class Usage(msgspec.Struct, frozen=True):
    """How full the spool is: bytes of the disk in use, and since when (epoch seconds) the oldest
    pending event has been waiting, None if none is.
    """

    bytes: int
    oldest_received_at: float | None


class Pauses(Protocol):
    """The apps that are sent nothing but probes, the same for all who deliver from a queue.

    They outlast a restart, which makes all probes due. A pause whose probe is due while nothing is
    parked for the app is forgotten.
    """

    def all(self) -> Mapping[str, Pause]:
        """By app, as far as it is known here: what others do becomes known within a second or so,
        and is news.
        """

    def pause(self, app: str, reason: str, probe_at: float) -> None:
        """Known here at once, and to the others soon. The probe of an app that is paused already
        stays when it was.
        """

    async def claim_probe(self, app: str, next_at: float) -> bool:
        """Whether it is for the caller to send the probe that is due: of all who claim it one may.
        The next one is due at `next_at` (epoch seconds).
        """

    def resume(self, app: str) -> None:
        """Known here at once, and to the others soon."""


class Spool(Protocol):
    """What receiving and delivering ask of the queue."""

    @property
    def pauses(self) -> Pauses:
        """Of the apps that its events are for."""

    async def append(
        self, source: str, events: Sequence[Event], rejected: Mapping[str, int]
    ) -> None:
        """Returns when the events and the counts are on the disk.

        Raises:
            StorageFull: nothing was kept.
            StorageBroken: the process is about to end.

        """

    def on_news(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever there may be more to lease than before."""

    def lanes(self) -> Sequence[Lane]:
        """Every lane there is."""

    def lease(self, lane: Lane, limit: int) -> list[Leased]:
        """Up to `limit` events of a lane that may be sent now, oldest first."""

    def lease_parked(self, app: str, limit: int) -> list[Leased]:
        """Up to `limit` events parked for an app whose time has come, the longest due first."""

    def parked_apps(self) -> Iterable[str]:
        """The apps that events are parked for, "" among them."""

    def next_due(self, app: str) -> float | None:
        """When (epoch seconds) the next event parked for an app is due, None if there is none."""

    def settle(self, leased: Leased, settlement: Settlement) -> asyncio.Future[Any]:
        """Ends an event; done when that is on the disk.

        The future raises as `append`, but waits for room.
        """

    async def park(self, leased: Leased, parked: Parked) -> None:
        """Puts an event back to wait; later ones of its device wait with it."""

    def usage(self) -> Usage:
        """How full it is; cheap however much is in it."""
