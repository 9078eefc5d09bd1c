"""Several workers on one file: whichever of them dies, and however often, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from proxy.database import open_for_reading
from proxy.observe.published import read_states
from tests.end_to_end.load import Load, sending
from tests.end_to_end.processes import (
    SUCCESS,
    Proxy,
    Sink,
    running,
    serving,
    until,
    write_config,
)

WORKERS = 3


@asynccontextmanager
async def workers(folder: Path, sink: Sink) -> AsyncIterator[Proxy]:
    config = write_config(folder, sink.url, server={"port": 0, "workers": WORKERS})
    async with running(config) as proxy:
        yield proxy


async def drained(proxy: Proxy, sink: Sink) -> None:
    """All that is left is delivered, by one process."""
    assert await proxy.end() == 0
    write_config(proxy.config.parent, sink.url)
    await proxy.start()
    await proxy.settles()


async def test_workers_that_are_killed_under_load_are_replaced_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    load, sink = Load(900, seed=5), Sink()
    sink.answer = load.answer(fail_rate=0)
    async with serving(sink) as kochava, workers(tmp_path, kochava) as proxy:
        async with sending(load, proxy) as clients:
            for kill, enough in enumerate((100, 300, 500)):
                await load.reaches(enough, clients)
                victim = proxy.workers()[kill % WORKERS]
                os.kill(victim, signal.SIGKILL)
                await proxy.restarted(kill % WORKERS, victim)
        assert len(proxy.logged("worker_ended")) == 3
        await drained(proxy, kochava)
        await load.check(proxy, kochava)
        assert await proxy.end() == 0


async def test_a_supervisor_that_is_killed_under_load_can_be_followed_at_once(
    tmp_path: Path,
) -> None:
    load, sink = Load(600, seed=6), Sink()
    sink.answer = load.answer(fail_rate=0)
    async with serving(sink) as kochava, workers(tmp_path, kochava) as proxy:
        async with sending(load, proxy) as clients:
            for enough in (100, 300):
                await load.reaches(enough, clients)
                assert await proxy.end(signal.SIGKILL) == -signal.SIGKILL
                await proxy.start()
        await drained(proxy, kochava)
        await load.check(proxy, kochava)
        assert await proxy.end() == 0


async def test_told_to_end_under_load_all_workers_end_well_and_soon(tmp_path: Path) -> None:
    load, sink = Load(600, seed=7), Sink()
    sink.answer, sink.latency = load.answer(fail_rate=0), 0.02
    async with serving(sink) as kochava, workers(tmp_path, kochava) as proxy:
        async with sending(load, proxy) as clients:
            for enough in (100, 300):
                await load.reaches(enough, clients)
                began = time.monotonic()
                assert await proxy.end() == 0
                assert time.monotonic() - began < 5
                assert not proxy.logged("worker_ended")
                await proxy.start()
        await drained(proxy, kochava)
        await load.check(proxy, kochava)
        assert await proxy.end() == 0


async def test_a_message_sent_to_every_worker_is_taken_once(tmp_path: Path) -> None:
    times = 60
    message = {
        "writeKey": "wk_acme",
        "event": "Tested",
        "messageId": "m-1",
        "anonymousId": "a-1",
        "properties": {"id": "m-1"},
    }
    async with serving(Sink()) as kochava, workers(tmp_path, kochava) as proxy:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def post() -> int:
                async with session.post(f"{proxy.url}/v1/track", json=message) as answer:
                    return answer.status

            assert set(await asyncio.gather(*(post() for _ in range(times)))) == {200}
        await drained(proxy, kochava)
        counts = await proxy.stats()
        assert (counts["received"], counts["duplicate"]) == (times, times - 1)
        assert counts["delivered"] == 1
        assert await proxy.end() == 0


async def test_all_workers_together_probe_a_refused_app_once_in_each_interval(
    tmp_path: Path,
) -> None:
    interval, probes, devices = 0.4, 10, 24
    sink, arrived = Sink(), list[float]()

    def refuse(_: dict[str, Any]) -> tuple[int, bytes]:
        arrived.append(time.monotonic())
        return 401, b""

    sink.answer = refuse
    delivery = {"retry_base_seconds": 0.05, "retry_max_seconds": interval}
    async with serving(sink) as kochava, aiohttp.ClientSession() as session:
        config = write_config(
            tmp_path, kochava.url, server={"port": 0, "workers": WORKERS}, delivery=delivery
        )
        async with running(config) as proxy:

            async def post(*ids: str) -> None:
                batch = {"writeKey": "wk_acme", "batch": [_tracked(id_) for id_ in ids]}
                async with session.post(f"{proxy.url}/v1/batch", json=batch) as answer:
                    assert answer.status == 200

            await post("0-first")
            await until(lambda: _paused_in(proxy) == WORKERS)
            await post(*(f"{device}-{turn}" for turn in "abc" for device in range(devices)))
            before = len(arrived)
            await until(lambda: len(arrived) >= before + probes)
            seconds = arrived[-1] - arrived[before]
            # Three in each interval would be one of each worker.
            assert len(arrived) - before <= 1.5 * seconds / interval + 2

            sink.answer = lambda _: (200, SUCCESS)
            await proxy.settles()
            assert proxy.logged("app_resumed")
            delivered = [request.id for request in sink.requests if request.success]
            assert len(delivered) == 1 + 3 * devices
            for device in range(devices):
                mine = [id_.partition("-")[2] for id_ in delivered if id_.startswith(f"{device}-")]
                assert mine == ["first"] * (device == 0) + ["a", "b", "c"]
            assert await proxy.end() == 0


def _tracked(id_: str) -> dict[str, Any]:
    """Of the device that stands in its id."""
    device = f"device-{id_.partition('-')[0]}"
    return {"type": "track", "event": "Tested", "anonymousId": device, "properties": {"id": id_}}


def _paused_in(proxy: Proxy) -> int:
    """How many workers say that the app is paused."""
    with contextlib.closing(open_for_reading(proxy.config.parent / "data" / "spool.db")) as file:
        states = read_states(lambda *query: list(file.execute(*query)), time.time())
    return sum(app.paused == "status_401" for state in states for app in state.apps)


async def test_a_sandbox_serves_all_workers(tmp_path: Path) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:9", server={"port": 0, "workers": WORKERS})
    async with running(config, "--sandbox") as proxy, aiohttp.ClientSession() as session:
        message = {"writeKey": "wk_acme", "event": "Tested", "anonymousId": "a-1"}
        async with session.post(f"{proxy.url}/v1/track", json=message) as answer:
            assert answer.status == 200
        assert (await proxy.settles())["delivered"] == 1
        assert await proxy.end() == 0
