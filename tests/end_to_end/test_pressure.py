"""More comes in than can go out, or be kept: clients are told to wait, and nothing is lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.end_to_end.processes import (
    PATIENCE,
    Proxy,
    Sink,
    running,
    serving,
    until,
    until_async,
    write_config,
)
from tests.small_disk import mounted

DOWN = (503, b"")

#: Read by Python at the start of the process: a disk on which nothing grows while a file says so.
SMALL_DISK = """
import pathlib, apsw

FULL = pathlib.Path({full!r})

class Disk(apsw.VFS):
    def __init__(self):
        super().__init__("small", "unix", makedefault=True)

    def xOpen(self, name, flags):
        return File("unix", name, flags)

class File(apsw.VFSFile):
    def xWrite(self, data, offset):
        if FULL.exists() and offset + len(data) > self.xFileSize():
            raise apsw.FullError("no space left on device")
        super().xWrite(data, offset)

disk = Disk()
"""


class Client:
    """Sends numbered batches, and keeps what was not acknowledged, as an SDK does."""

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession, pad: int) -> None:
        self.acknowledged: list[str] = []
        self._proxy = proxy
        self._session = session
        self._pad = "x" * pad
        self._waiting: list[str] = []

    async def send(self) -> aiohttp.ClientResponse:
        """One batch; the same again if it was refused the last time."""
        number = len(self.acknowledged)
        self._waiting = self._waiting or [f"m-{number + n}" for n in range(10)]
        batch = {"writeKey": "wk_acme", "batch": list(map(self._message, self._waiting))}
        async with self._session.post(f"{self._proxy.url}/v1/batch", json=batch) as answer:
            await answer.read()
        if answer.status == 200:
            self.acknowledged += self._waiting
            self._waiting = []
        return answer

    async def sends_until(self, status: int) -> aiohttp.ClientResponse:
        async with asyncio.timeout(PATIENCE):
            while (answer := await self.send()).status != status:
                assert answer.status in (200, 429, 503)
                await asyncio.sleep(0.01)
        return answer

    def _message(self, id_: str) -> dict[str, Any]:
        properties = {"id": id_, "pad": self._pad}
        return {
            "type": "track",
            "event": "Tested",
            "messageId": id_,
            "anonymousId": f"device-{id_}",
            "properties": properties,
        }


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def nothing_is_lost(client: Client, proxy: Proxy, sink: Sink) -> None:
    """All that was acknowledged arrived, once, and the ledger knows of nothing else."""
    counts = await proxy.settles()
    assert sink.successes() == dict.fromkeys(client.acknowledged, 1)
    assert counts["received"] == counts["delivered"] == len(client.acknowledged)
    assert counts["rejected"] == {}


async def test_while_kochava_is_down_clients_wait_and_when_it_is_back_they_get_in(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    sink = Sink()
    sink.answer = lambda _: DOWN
    async with serving(sink) as kochava:
        config = write_config(tmp_path, kochava.url, spool={"high_water_megabytes": 1})
        async with running(config) as proxy:
            client = Client(proxy, session, pad=10_000)
            refused = await client.sends_until(429)
            assert int(refused.headers["Retry-After"]) >= 1
            assert client.acknowledged
            kept = (await proxy.stats())["received"]
            assert kept == len(client.acknowledged)
            assert [(await client.send()).status for _ in range(20)] == [429] * 20
            assert (await proxy.stats())["received"] == kept
            await until(lambda: len(sink.requests) > 0)  # refusing does not stop delivering
            sink.answer = Sink().answer
            await client.sends_until(200)
            await nothing_is_lost(client, proxy, sink)
            assert await proxy.end() == 0


async def test_a_full_disk_asks_clients_to_wait_and_with_room_again_they_get_in(
    tmp_path: Path, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(SMALL_DISK.format(full=str(full)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "start"))
    async with serving(Sink()) as sink, running(write_config(tmp_path, sink.url)) as proxy:
        client = Client(proxy, session, pad=1_000)
        await client.send()
        full.touch()
        refused = await client.sends_until(503)
        assert int(refused.headers["Retry-After"]) >= 1
        for path in ("live", "ready"):
            async with session.get(f"{proxy.url}/health/{path}") as answer:
                assert answer.status == 200
        full.unlink()
        await client.sends_until(200)
        await nothing_is_lost(client, proxy, sink)
        assert await proxy.end() == 0


class SlowSink(Sink):
    """Answers as many as it is allowed to; what is asked beyond waits."""

    def __init__(self) -> None:
        super().__init__()
        self._allowed = asyncio.Semaphore(0)

    def allow(self, number: int) -> None:
        for _ in range(number):
            self._allowed.release()

    async def handle(self, request: web.Request) -> web.Response:
        await self._allowed.acquire()
        if request.transport is None or request.transport.is_closing():
            self._allowed.release()  # whoever asked was killed
            raise ConnectionResetError
        return await super().handle(request)


@pytest.mark.parametrize("workers", [1, 3])
async def test_on_a_full_disk_results_are_kept_through_a_crash_while_clients_wait(
    tmp_path: Path, session: aiohttp.ClientSession, workers: int
) -> None:
    sink = SlowSink()
    with mounted(tmp_path / "small", 64) as disk:
        async with serving(sink), running(write_config(
            tmp_path,
            sink.url,
            server={"port": 0, "workers": workers},
            spool={"path": str(disk.folder / "spool.db"), "reserve_megabytes": 8},
        )) as proxy:  # fmt: skip
            client = Client(proxy, session, pad=1_000)
            while len(client.acknowledged) < 300:
                await client.sends_until(200)
            disk.fill()
            await client.sends_until(503)
            acknowledged = len(client.acknowledged)

            sink.allow(150)
            await until_async(partial(_has_delivered, proxy, 150))
            before = sink.successes()
            assert len(before) == 150
            assert (await client.send()).status == 503

            assert await proxy.end(signal.SIGKILL) == -signal.SIGKILL
            await proxy.start()
            assert (await client.send()).status == 503
            sink.allow(10_000)
            counts = await proxy.settles()
            assert counts["delivered"] == acknowledged  # the disk is as full as before
            assert {id_: sink.successes()[id_] for id_ in before} == before
            assert (await client.send()).status == 503

            disk.clear()
            await client.sends_until(200)
            await nothing_is_lost(client, proxy, sink)
            assert await proxy.end() == 0


async def _has_delivered(proxy: Proxy, number: int) -> bool:
    return bool((await proxy.stats())["delivered"] == number)


async def test_a_request_that_is_no_http_fills_no_log_and_gives_no_key_away(
    tmp_path: Path,
) -> None:
    async with running(write_config(tmp_path, "http://127.0.0.1:9")) as proxy:
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"POST /v1/t HTTP/1.1\r\nContent-Length: x wk_acme\r\n\r\nwk_acme")
            assert b" 400 " in await reader.readuntil(b"\r\n")
            writer.close()
            await writer.wait_closed()
        assert await proxy.end() == 0
        log = proxy.log.read_text()
        assert "wk_acme" not in log
        assert "Traceback" not in log
        assert log.count("\n") < 20
