"""(g) As (d), with one worker and with two. Nothing is kept to a core here: load, sink and workers
share them all, as the system divides them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.figures import Figure, Goal, Row, memory
from bench.stage import Stage

ONE: Final = "delivered, one worker, unpinned"
TWO: Final = "delivered, two workers, unpinned"


async def measure(stage: Stage) -> Mapping[str, float]:
    found: dict[str, float] = {}
    cores = stage.cores
    stage.sink.pin(cores.every)
    stage.load.pin(cores.every)
    try:
        for name, workers in ((ONE, 1), (TWO, 2)):
            await stage.behave()
            async with stage.proxy(pinned=False, server={"workers": workers}) as proxy:
                done = await stage.deliver(proxy, await stage.warm(proxy))
                found[name] = done.per_second
                found["workers: CPU of two"] = done.cpu_microseconds
                found["workers: peak memory"] = proxy.peak_megabytes()
    finally:
        stage.sink.pin(cores.sink)
        stage.load.pin(cores.load)
    return found


ROW: Final = Row(
    "workers",
    "one worker and two",
    (
        Figure(ONE, "events/s"),
        Figure(TWO, "events/s", ONE, Goal(1.4, 1.8)),
        Figure("workers: CPU of two", "us an event"),
        memory("workers"),
    ),
    measure,
)
