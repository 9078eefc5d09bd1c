"""`make fuzz`: a real process under a great many hostile requests, and what must then still hold.

Linux only: memory and file descriptors are read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from tests.end_to_end.processes import SUCCESS, Proxy, Sink, command, running, serving, write_config
from tests.hostile.flood import Report, flooding
from tests.hostile.requests import CHAOS_KEY, KEY, POSTBACK_TOKEN, TOKEN
from tests.hostile.steady import SteadyClient, SteadyReport

CLIENTS = 4
MAX_CONNECTIONS = 64  # of one address
QUIET_SECONDS = 10.0  # of the good client alone
TIMES_SLOWER = 3.0  # than when it was alone the good client may get
GROWTH = 1.10  # of memory after the first quarter
PATIENCE = 300.0  # until all is delivered
#: File descriptors that are no leak: connections to Kochava are kept for later, at most as many as
#: events may be in flight (`write_config`).
SPARE = 20 + 2
#: What a log must not hold: each is a fault that somebody should look at.
FORBIDDEN = (b"Traceback", b"handler_failed", b"Unhandled", b"Error handling", b"never awaited")


class IdSink(Sink):
    """Keeps only which messages came."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        event_data = body.get("data", {}).get("event_data", {})
        if isinstance(event_data, dict):
            self.ids.add(str(event_data.get("id")))
        return web.Response(body=SUCCESS)


@asynccontextmanager
async def besieged(folder: Path) -> AsyncIterator[tuple[Proxy, IdSink]]:
    """A proxy with two sources, and a Kochava and a Segment that take everything.

    A client's connections are limited to few more than are open at once: were one of those that
    ended still counted, the good ones would soon be turned away.
    """
    app = {"kochava_app_id": "koacme"}
    sources = [
        {"name": "acme", "write_key": KEY, "webhook_token": TOKEN, **app},
        {"name": "chaos", "write_key": CHAOS_KEY, "postback_token": POSTBACK_TOKEN,
         "segment_write_key": "wk_segment", **app},
    ]  # fmt: skip
    server = {"port": 0, "max_connections_per_address": MAX_CONNECTIONS}
    async with serving(IdSink()) as sink:
        tables: dict[str, Any] = {
            "segment": {"api_url": f"{sink.url}/v1"},
            # Nobody here is worth waiting for.
            "postbacks": {"hold_seconds": 0, "user_hold_seconds": 0},
        }
        config = write_config(folder, sink.url, sources=sources, server=server, **tables)
        async with running(config) as proxy:
            assert isinstance(sink, IdSink)
            yield proxy, sink


async def settled(proxy: Proxy) -> dict[str, Any]:
    """The ledger of all sources once nothing is pending; unbalanced, `stats` exits with 1."""
    async with asyncio.timeout(PATIENCE):
        while True:
            code, output = await command("stats", "-c", proxy.config, "--json")
            assert code == 0, output
            sources: dict[str, Any] = json.loads(output)["sources"]
            if not any(counts["pending"] for counts in sources.values()):
                return sources
            await asyncio.sleep(0.5)


async def broken_promises(
    proxy: Proxy, sink: IdSink, report: Report, steady: SteadyReport
) -> AsyncIterator[str]:
    """What does not hold, once all is sent. Ends the process."""
    for fault in report.faults[:20]:
        yield fault
    if len(report.faults) > 20:
        yield f"and {len(report.faults) - 20} faults more"
    if steady.not_taken:
        yield f"the good client was answered {steady.not_taken[:3]}"
    assert proxy.process is not None
    if proxy.process.poll() is not None:
        yield f"the process ended with {proxy.process.returncode}"
        return
    received = (await settled(proxy))["acme"]["received"]
    expected = report.acknowledged + len(steady.sent)
    if received != expected:
        yield f"{expected} messages were acknowledged, the ledger has {received}"
    lost = (steady.sent | set(report.planted)) - sink.ids
    if lost:
        yield f"{len(lost)} good messages were not delivered, such as {sorted(lost)[:5]}"
    code = await proxy.end()
    if code != 0:
        yield f"at the end the process exits with {code}"
    for line in proxy.log.read_bytes().splitlines():
        if any(word in line for word in FORBIDDEN):
            yield f"in the log: {line[:2_000].decode(errors='replace')}"
            break


def _memory(pid: int) -> float:
    """Resident, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1_024


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def _fuzz(number: int, seed: int, clients: int, folder: Path) -> int:
    async with besieged(folder) as (proxy, sink):
        assert proxy.process is not None
        pid = proxy.process.pid
        quiet = await _good_client_alone(proxy.port)
        before, memory = _descriptors(pid), [_memory(pid)]
        report = Report(0, 0, {}, [], ["the flood did not come"])
        good, began = await SteadyClient.start(proxy.port, "flood"), time.monotonic()
        async with flooding(proxy.port, number, seed, clients) as reports:
            async for each in reports:
                report = each
                memory.append(_memory(pid))
                _say(f"{report.attempts} requests, {memory[-1]:.0f} MB")
        seconds = time.monotonic() - began
        steady = await good.stop()
        await settled(proxy)
        after = _descriptors(pid)
        steady.sent |= quiet.sent
        problems = [each async for each in broken_promises(proxy, sink, report, steady)]
    slower = steady.p99 / quiet.p99
    rate = report.attempts / seconds
    _say(f"seed {seed}: {report.attempts} requests in {seconds:.0f} s, {rate:.0f} a second")
    _say(f"answers: {report.statuses}")
    _say(f"messages: {report.acknowledged} acknowledged, {len(report.planted)} good ones planted")
    _say("memory in MB, by quarters: " + ", ".join(f"{each:.1f}" for each in memory))
    _say(f"file descriptors: {before} before, {after} after")
    _say(f"good client: p99 {quiet.p99 * 1e3:.1f} ms alone, {steady.p99 * 1e3:.1f} ms in the "
         f"flood, {slower:.1f} times")  # fmt: skip
    if memory[-1] > memory[1] * GROWTH:
        problems.append("memory grows")
    if after > before + SPARE:
        problems.append("file descriptors are left open")
    if slower > TIMES_SLOWER:
        problems.append(f"the good client gets more than {TIMES_SLOWER:.0f} times slower")
    for problem in problems:
        _say(f"BROKEN: {problem}")
    return 1 if problems else 0


async def _good_client_alone(port: int) -> SteadyReport:
    client = await SteadyClient.start(port, "quiet")
    await asyncio.sleep(QUIET_SECONDS)
    return await client.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return uvloop.run(_fuzz(given.requests, given.seed, given.clients, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
