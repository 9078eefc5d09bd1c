"""(f) Engage's first sync of an audience, beside live traffic.

Its calls name users and no devices; the devices were learnt before from tracks. Live single
messages come at a quarter of what the proxy delivers, 500 a second at most; their latency (as in
(d)) is taken without the audience and with it. All calls are sent at once, and what has been
delivered after a while says how long a million takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from bench.figures import Figure, Goal, Row, memory
from bench.rows.delivered import DELIVERED, latencies
from bench.sizes import WHOLE_AUDIENCE
from bench.stage import BATCH, Stage, percentile

QUIET: Final = "live latency p99, quiet"
BESIDE: Final = "live latency p99, beside an audience"
SECONDS: Final = "audience of a million, delivered"
LINKS: Final = "audience, delivered"

LIVE_SECONDS: Final = 600.0  # at most; it is stopped when the audience is delivered
LIVE_RATE: Final = 500.0
LIVE_PART: Final = 0.25  # of what is delivered at most, so that there is room for the audience


async def _delivered(stage: Stage, number: int, seconds: float) -> tuple[int, float]:
    """How many identity links have been delivered, and when, once all are or that time is over."""
    try:
        async with asyncio.timeout(seconds):
            return number, await stage.sink.call("reached", number=number, what="links")
    except TimeoutError:
        counts = await stage.sink.call("counts")
        return int(counts["links"]), time.monotonic()


async def measure(stage: Stage) -> Mapping[str, float]:
    sizes, capacity = stage.sizes, stage.figures[DELIVERED]
    users = min(sizes.users, int(capacity * sizes.learn_seconds)) // BATCH * BATCH
    rate = min(LIVE_RATE, capacity * LIVE_PART)
    async with stage.proxy() as proxy:
        await stage.behave()
        await stage.deliver(proxy, users, first=0, kind="newcomers")
        await stage.behave(arrivals=True)
        quiet = await latencies(stage, proxy, rate, sizes.latency_seconds)
        live = asyncio.create_task(latencies(stage, proxy, rate, LIVE_SECONDS))
        try:
            sent = await stage.send(proxy.port, sizes.members, kind="members", users=users)
            number, ended = await _delivered(stage, sent.accepted, sizes.members_seconds)
            await stage.load.call("stop")
            beside = await live
        finally:
            live.cancel()
        seconds = ended - sent.began
        stage.notes["audience"] = (
            f"{sent.accepted:,} calls for {users:,} users, of which {number:,} were delivered in "
            f"{seconds:.0f} s; {WHOLE_AUDIENCE:,} at that rate; beside {rate:.0f} live events/s"
        )
        return {
            SECONDS: WHOLE_AUDIENCE * seconds / number,
            LINKS: number / seconds,
            QUIET: percentile(quiet, 0.99) * 1e3,
            BESIDE: percentile(beside, 0.99) * 1e3,
            "audience: peak memory": proxy.peak_megabytes(),
        }


ROW: Final = Row(
    "audience",
    "a first sync of an audience beside live events",
    (
        Figure(SECONDS, "s", goal=Goal(120, 45, lower=True, of_value=True)),
        Figure(LINKS, "events/s", DELIVERED),
        Figure(QUIET, "ms"),
        Figure(BESIDE, "ms", QUIET, Goal(2.0, 1.2, lower=True)),
        memory("audience"),
    ),
    measure,
    needs=("delivered",),
    once=True,
)
