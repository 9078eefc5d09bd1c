"""The durable queue between receiving and delivering, whatever it is kept in.

The states of an event, and who moves it:

    append ──> duplicate                        same message id within the window: only counted
       └─────> pending ──lease──> leased ──settle──> delivered   gone, counted
                  ^                  │           ├─> filtered    gone, counted with its reason
                  │                  │           └─> dead        kept with reason, request, answer
                  │                  └──park────────> pending, not before `due`
                  └── restart: every lease is forgotten, so what was in flight is leased again

Only `append` creates events and only `settle` ends them; time-outs, shutdown and crashes do
neither. A lease is held in memory alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from proxy.event import Event
from proxy.states import Settlement


class Leased(msgspec.Struct, frozen=True):
    """An event handed out for delivery, with what earlier attempts left behind.

    `first_attempt_at` is in epoch seconds, None before the first. `done` holds the digests of
    those of its requests that were delivered already.
    """

    id: int
    event: Event
    attempts: int = 0
    first_attempt_at: float | None = None
    done: frozenset[bytes] = frozenset()


class Parked(msgspec.Struct, frozen=True):
    """A leased event that must wait until `due` (epoch seconds)."""

    id: int
    due: float
    attempts: int
    first_attempt_at: float | None
    done: frozenset[bytes] = frozenset()


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


class Spool(Protocol):
    """What receiving and delivering ask of the queue."""

    async def append(
        self, source: str, events: Sequence[Event], rejected: Mapping[str, int]
    ) -> None:
        """Returns when the events and the counts are on the disk.

        Raises:
            StorageFull: nothing was kept; the client must try again.
            StorageBroken: the process is about to end.

        """

    async def lease(self, limit: int) -> list[Leased]:
        """Up to `limit` events that may be sent now, oldest first; waits until there is one."""

    async def settle(self, leased: Leased, settlement: Settlement) -> None:
        """Ends an event; returns when that is on the disk."""

    async def park(self, parked: Parked) -> None:
        """Puts an event back until it is due."""

    def usage(self) -> Usage:
        """How full it is; cheap however much is in it."""
