"""How delivery to each app goes: what every worker knows of its own, and what they make together.

Delivery makes these, and publishes them into the file; stats, metrics and health checks read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

BreakerState = Literal["closed", "open", "half_open"]

_BREAKER_BY_WEIGHT: Final[tuple[BreakerState, ...]] = ("closed", "half_open", "open")


class AppState(msgspec.Struct, frozen=True):
    """One app, as one worker sees it or as all do.

    `limit` is how many requests may be in flight, `ready` how many events are at hand beyond those
    in flight, `rate` the requests a second that are allowed (None: no limit), `paused` why nothing
    is sent until a probe succeeds (such as "status_401"). `delivered`, `retried` and `refused`
    count attempts since the start of the worker.
    """

    app: str
    limit: int = 0
    in_flight: int = 0
    ready: int = 0
    breaker: BreakerState = "closed"
    rate: float | None = None
    paused: str | None = None
    delivered: int = 0
    retried: int = 0
    refused: int = 0


class WorkerState(msgspec.Struct, frozen=True):
    """What one process knew of its apps `at` a time; times are epoch seconds."""

    worker: int
    pid: int
    started_at: float
    at: float
    apps: list[AppState]


def together(workers: Iterable[WorkerState]) -> dict[str, AppState]:
    """Every app over all workers, by name in alphabetical order: sums, the worst breaker, and a
    pause if any of them is paused. `rate` is the sum over those that have a limit.
    """
    found: dict[str, AppState] = {}
    for worker in workers:
        for state in worker.apps:
            known = found.get(state.app)
            found[state.app] = _sum(known, state) if known else state
    return dict(sorted(found.items()))


def _sum(one: AppState, other: AppState) -> AppState:
    rates = [rate for rate in (one.rate, other.rate) if rate is not None]
    return AppState(
        one.app,
        one.limit + other.limit,
        one.in_flight + other.in_flight,
        one.ready + other.ready,
        max(one.breaker, other.breaker, key=_BREAKER_BY_WEIGHT.index),
        sum(rates) if rates else None,
        one.paused or other.paused,
        one.delivered + other.delivered,
        one.retried + other.retried,
        one.refused + other.refused,
    )
