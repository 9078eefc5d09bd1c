"""(f) Engage's first sync of an audience, beside live traffic.

Its calls name users and no devices; the devices were learnt before from tracks. Live single
messages come at a quarter of what the proxy delivers, 500 a second at most; their latency (as in
(d)) is taken without the audience and with it.
"""

from __future__ import annotations

import asyncio
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


async def measure(stage: Stage) -> Mapping[str, float]:
    sizes, capacity = stage.sizes, stage.figures[DELIVERED]
    users = min(sizes.users, int(capacity * sizes.learn_seconds)) // BATCH * BATCH
    members = min(sizes.members, int(capacity * sizes.members_seconds)) // BATCH * BATCH
    rate = min(LIVE_RATE, capacity * LIVE_PART)
    stage.notes["audience"] = (
        f"{members:,} calls for {users:,} users, the seconds multiplied for {WHOLE_AUDIENCE:,}; "
        f"{rate:.0f} live events/s"
    )
    async with stage.proxy() as proxy:
        await stage.behave()
        await stage.deliver(proxy, users, first=0)
        await stage.behave(arrivals=True)
        quiet = await latencies(stage, proxy, rate, sizes.latency_seconds)
        live = asyncio.create_task(latencies(stage, proxy, rate, LIVE_SECONDS))
        try:
            sent = await stage.send(proxy.port, members, kind="members", users=users)
            ended = await stage.sink.call("reached", number=sent.accepted, what="links")
            await stage.load.call("stop")
            beside = await live
        finally:
            live.cancel()
        seconds = ended - sent.began
        return {
            SECONDS: seconds * WHOLE_AUDIENCE / sent.accepted,
            LINKS: sent.accepted / seconds,
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
