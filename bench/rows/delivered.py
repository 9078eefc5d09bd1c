"""(d) From a batch to the sink's answer, with everything that the proxy does.

The latency is that of single messages at half the rate just measured: from the moment a message is
due to be sent, its answer still to come, until it stands before the sink.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.figures import Figure, Goal, Row, memory
from bench.proxyprocess import ProxyFailed, ProxyProcess
from bench.rows.ceilings import CLIENT, RUDDERSTACK
from bench.stage import SINGLE_CONNECTIONS, Stage, percentile

DELIVERED: Final = "delivered, from batches"
CPU: Final = "delivered: CPU of the proxy"
CORE: Final = "delivered: on one core"
P50: Final = "delivered: latency p50, half load"
P99: Final = "delivered: latency p99, half load"
PART: Final = 0.5  # of the rate measured, at which latency is


async def latencies(stage: Stage, proxy: ProxyProcess, rate: float, seconds: float) -> list[float]:
    """Seconds from when each single message is due until it is delivered, for messages at a rate,
    for so long or until the load is stopped; the sink must be told to keep arrivals.
    """
    number = int(rate * seconds)
    first = stage.numbers(number)
    before = int((await stage.sink.call("counts"))["tracks"])
    sent = await stage.send(
        proxy.port, number, batch=0, first=first, rate=rate, seconds=seconds,
        connections=SINGLE_CONNECTIONS,
    )  # fmt: skip
    if sent.accepted < len(sent.due):
        raise ProxyFailed(f"{len(sent.due) - sent.accepted} events were refused: {sent.refused}")
    await stage.sink.call("reached", number=before + sent.accepted, what="tracks")
    arrived: dict[str, float] = await stage.sink.call("arrived")
    return [arrived[f"{each:012d}"] - due for each, due in enumerate(sent.due, first)]


async def measure(stage: Stage) -> Mapping[str, float]:
    async with stage.proxy() as proxy:
        await stage.behave()
        done = await stage.deliver(proxy, await stage.warm(proxy))
        await stage.behave(arrivals=True)
        took = await latencies(stage, proxy, done.per_second * PART, stage.sizes.latency_seconds)
        return {
            DELIVERED: done.per_second,
            CPU: done.cpu_microseconds,
            CORE: 1e6 / done.cpu_microseconds,
            P50: percentile(took, 0.5) * 1e3,
            P99: percentile(took, 0.99) * 1e3,
            "delivered: peak memory": proxy.peak_megabytes(),
        }


ROW: Final = Row(
    "delivered",
    "from a batch to Kochava's answer",
    (
        Figure(DELIVERED, "events/s", CLIENT, Goal(0.55, 0.8)),
        Figure(CPU, "us an event"),
        Figure(CORE, "events/s a core", RUDDERSTACK),
        Figure(P50, "ms"),
        Figure(P99, "ms"),
        memory("delivered"),
    ),
    measure,
    needs=("ceilings",),
)
