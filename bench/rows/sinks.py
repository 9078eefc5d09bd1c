"""(i) As (d), to sinks that are not as good: one that takes 50 ms, one that speaks TLS, and one
that fails every twentieth request (of which the first nine tenths are measured, without the last
retries, for which only time passes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.figures import Figure, Row, memory
from bench.rows.delivered import DELIVERED
from bench.stage import Stage
from proxy.config import Delivery

LATENCY: Final = 0.05
FAIL_EVERY: Final = 20
PART: Final = 0.9

SLOW: Final = "delivered, to a sink of 50 ms"
SLOW_MOST: Final = "max_concurrency / 50 ms"
FAILING: Final = "delivered, to a sink that fails 5 %"
TLS: Final = "delivered, to a sink by TLS"

OPENSSL: Final = (
    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
)  # fmt: skip


async def certificate(folder: Path) -> tuple[Path, Path] | None:
    """A certificate for this address that signs itself, and its key; None without openssl."""
    files = folder / "certificate.pem", folder / "key.pem"
    if files[0].exists():
        return files
    try:
        process = await asyncio.create_subprocess_exec(
            *(*OPENSSL, "-out", files[0], "-keyout", files[1]),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return None
    return None if await process.wait() else files


async def measure(stage: Stage) -> Mapping[str, float]:
    found: dict[str, float] = {SLOW_MOST: Delivery().max_concurrency / LATENCY}
    async with stage.proxy() as proxy:
        await stage.behave(latency=LATENCY)
        found[SLOW] = (await stage.deliver(proxy, await stage.warm(proxy))).per_second
        await stage.behave()
        number = await stage.warm(proxy)
        await stage.behave(fail_every=FAIL_EVERY)
        found[FAILING] = (await stage.deliver(proxy, number, until=PART)).per_second
        found["sinks: peak memory"] = proxy.peak_megabytes()
    files = await certificate(stage.folder)
    if files is None:
        stage.notes["sinks"] = "without TLS: the command openssl made no certificate"
        return found
    port = await stage.sink.call("listen", certificate=str(files[0]), key=str(files[1]))
    await stage.behave()
    url, variables = f"https://127.0.0.1:{port}", {"SSL_CERT_FILE": str(files[0])}
    async with stage.proxy(sink_url=url, variables=variables) as proxy:
        found[TLS] = (await stage.deliver(proxy, await stage.warm(proxy))).per_second
    return found


ROW: Final = Row(
    "sinks",
    "to a sink that is slow, fails, or speaks TLS",
    (
        Figure(SLOW_MOST, "events/s"),
        Figure(SLOW, "events/s", SLOW_MOST),
        Figure(FAILING, "events/s", DELIVERED),
        Figure(TLS, "events/s", DELIVERED),
        memory("sinks"),
    ),
    measure,
    needs=("delivered",),
)
