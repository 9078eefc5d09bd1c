"""(d) once more, with `[delivery] transport = "curl"`, where pycurl is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.figures import Figure, Goal, Row, Skipped, memory
from bench.rows.ceilings import CLIENT, RUDDERSTACK
from bench.settings import table
from bench.sink import LINK_PATH, TRACK_PATH
from bench.stage import Stage
from proxy.configfile import read_config
from proxy.errors import ConfigError

DELIVERED: Final = "delivered by curl"
CPU: Final = "delivered by curl: CPU of the proxy"
CORE: Final = "delivered by curl: on one core"
WITH_CURL: Final[dict[str, Any]] = {"transport": "curl"}


async def measure(stage: Stage) -> Mapping[str, float]:
    settings = table(stage.sink_url + TRACK_PATH, LINK_PATH, delivery=WITH_CURL)
    try:
        read_config(settings, {}, Path("config.toml"))
    except ConfigError as error:
        raise Skipped(str(error.problems[0])) from None
    async with stage.proxy(delivery=WITH_CURL) as proxy:
        await stage.behave()
        done = await stage.deliver(proxy, await stage.warm(proxy))
        return {
            DELIVERED: done.per_second,
            CPU: done.cpu_microseconds,
            CORE: 1e6 / done.cpu_microseconds,
            "curl: peak memory": proxy.peak_megabytes(),
        }


ROW: Final = Row(
    "curl",
    "the same, sent by curl",
    (
        Figure(DELIVERED, "events/s", CLIENT, Goal(1.1, 2.0)),
        Figure(CPU, "us an event"),
        Figure(CORE, "events/s a core", RUDDERSTACK, Goal(0.8, 1.5)),
        memory("curl"),
    ),
    measure,
    needs=("ceilings",),
)
