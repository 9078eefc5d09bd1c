"""(e) As (d), with a backlog on the disk that goes first.

The backlog is made through the proxy's own door while its apps are paused; then the proxy is
started anew before a sink that takes everything, and measured over its first events, taking in as
many as it delivers, as (d) does. So the backlog is as long in the next round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.figures import Figure, Goal, Row, memory
from bench.rows.delivered import DELIVERED
from bench.rows.ingest import BATCHES, paused
from bench.sizes import WHOLE_BACKLOG
from bench.stage import BATCH, Stage

WITH_BACKLOG: Final = "delivered, with a backlog"


async def _backlog(stage: Stage) -> Path:
    """The folder of a proxy that has one."""
    sizes, folder = stage.sizes, await asyncio.to_thread(stage.new_folder)
    affordable = int(stage.figures[BATCHES] * sizes.backlog_seconds)
    number = min(sizes.backlog, affordable) // BATCH * BATCH
    async with stage.proxy(folder=folder) as proxy:
        await paused(stage, proxy)
        sent = await stage.send(proxy.port, number)
    if number < WHOLE_BACKLOG:
        stage.notes["backlog"] = f"{sent.accepted:,} events instead of {WHOLE_BACKLOG:,}"
    return folder


async def measure(stage: Stage) -> Mapping[str, float]:
    if "backlog" not in stage.kept:
        with stage.once():
            stage.kept["backlog"] = await _backlog(stage)
    await stage.behave()
    async with stage.proxy(folder=stage.kept["backlog"]) as proxy:
        done = await stage.deliver(proxy, await stage.warm(proxy))
        return {
            WITH_BACKLOG: done.per_second,
            "backlog: CPU of the proxy": done.cpu_microseconds,
            "backlog: peak memory": proxy.peak_megabytes(),
        }


ROW: Final = Row(
    "backlog",
    "the same, with a backlog that goes first",
    (
        Figure(WITH_BACKLOG, "events/s", DELIVERED, Goal(0.8, 0.95)),
        Figure("backlog: CPU of the proxy", "us an event"),
        memory("backlog"),
    ),
    measure,
    needs=("ingest", "delivered"),
)
