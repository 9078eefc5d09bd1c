"""(d) From a batch to the sink's answer, with everything that the proxy does.

The latency is that of single messages at half the rate just measured: from the moment a message is
due to be sent, its answer still to come, until it stands before the sink.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.figures import Figure, Goal, Row, memory
from bench.proxyprocess import ProxyProcess
from bench.rows.ceilings import CLIENT, RUDDERSTACK
from bench.stage import SINGLE_CONNECTIONS, Stage, percentile

DELIVERED: Final = "delivered, from batches"
PART: Final = 0.5  # of the rate measured, at which latency is


async def latencies(stage: Stage, proxy: ProxyProcess, rate: float, seconds: float) -> list[float]:
    """Seconds from when each single message is due until it is delivered; the sink must be told
    to keep arrivals.
    """
    number = int(rate * seconds)
    first = stage.numbers(number)
    before = int((await stage.sink.call("counts"))["tracks"])
    sent = await stage.send(
        proxy.port, number, batch=0, first=first, rate=rate, seconds=seconds,
        connections=SINGLE_CONNECTIONS,
    )  # fmt: skip
    await stage.sink.call("reached", number=before + sent.accepted, what="tracks")
    arrived: dict[str, float] = await stage.sink.call("arrived")
    return [
        at - due
        for each, due in enumerate(sent.due, first)
        if (at := arrived.get(f"{each:012d}")) is not None
    ]


async def measure(stage: Stage) -> Mapping[str, float]:
    sizes = stage.sizes
    async with stage.proxy() as proxy:
        await stage.behave()
        await stage.warm(proxy)
        done = await stage.deliver(proxy, sizes.delivered)
        await stage.behave(arrivals=True)
        rate = done.per_second * PART
        took = await latencies(stage, proxy, rate, sizes.latency_seconds)
        return {
            DELIVERED: done.per_second,
            "delivered: CPU of the proxy": done.cpu_microseconds,
            "delivered, a core": 1e6 / done.cpu_microseconds,
            "delivered: latency p50 at half load": percentile(took, 0.5) * 1e3,
            "delivered: latency p99 at half load": percentile(took, 0.99) * 1e3,
            "delivered: peak memory": proxy.peak_megabytes(),
        }


ROW: Final = Row(
    "delivered",
    "from a batch to Kochava's answer",
    (
        Figure(DELIVERED, "events/s", CLIENT, Goal(0.55, 0.8)),
        Figure("delivered: CPU of the proxy", "us an event"),
        Figure("delivered, a core", "events/s a core", RUDDERSTACK),
        Figure("delivered: latency p50 at half load", "ms"),
        Figure("delivered: latency p99 at half load", "ms"),
        memory("delivered"),
    ),
    measure,
    needs=("ceilings",),
)
