"""(b) Taken in and on the disk, acknowledged.

Nothing is delivered beside it: the sink answers 401, on which the proxy pauses an app (a feature of
its own), so that after the first events only what takes in is at work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from bench.figures import Figure, Goal, Row, memory
from bench.load import Sent
from bench.proxyprocess import ProxyProcess
from bench.rows.ceilings import APPEND, HANDLER
from bench.stage import Stage

SINGLE: Final = "ingest, single"
BATCHES: Final = "ingest, batches of 100"
GZIP: Final = "ingest, batches of 100, gzip"

PAUSE_SECONDS: Final = 0.5  # until what was in flight at the pause has been put aside


async def paused(stage: Stage, proxy: ProxyProcess) -> None:
    """Has both apps refused, so that nothing more is sent."""
    await stage.behave(refuse=True)
    await stage.send(proxy.port, stage.sizes.warm)
    await asyncio.sleep(PAUSE_SECONDS)


def rate(sent: Sent) -> float:
    return sent.accepted / (sent.ended - sent.began)


async def measure(stage: Stage) -> Mapping[str, float]:
    seconds = stage.sizes.seconds
    async with stage.proxy() as proxy:
        await paused(stage, proxy)
        # Batches first: the ceiling that they are compared with was measured last, and a disk is
        # seldom the same for long.
        batches = await stage.send(proxy.port, seconds=seconds)
        gzipped = await stage.send(proxy.port, int(rate(batches) * seconds / 2), gzipped=True)
        await stage.send(proxy.port, batch=0, seconds=seconds / 10)
        single = await stage.send(proxy.port, batch=0, seconds=seconds)
        return {
            SINGLE: rate(single),
            BATCHES: rate(batches),
            GZIP: rate(gzipped),
            "ingest: peak memory": proxy.peak_megabytes(),
        }


ROW: Final = Row(
    "ingest",
    "on the disk and acknowledged",
    (
        Figure(SINGLE, "events/s", HANDLER, Goal(0.65, 0.85)),
        Figure(BATCHES, "events/s", APPEND, Goal(0.4, 0.8)),
        Figure(GZIP, "events/s", APPEND),
        memory("ingest"),
    ),
    measure,
    needs=("ceilings",),
)
