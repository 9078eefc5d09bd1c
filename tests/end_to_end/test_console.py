"""What operators see of real processes: metrics, readiness and stats, of one worker and of several,
while an app is refused by Kochava.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.processes import (
    SUCCESS,
    Proxy,
    Sink,
    command,
    running,
    serving,
    until,
    until_async,
    write_config,
)

SOURCES = [
    {"name": "good", "write_key": "wk_good", "kochava_app_id": "kogood"},
    {"name": "bad", "write_key": "wk_bad", "kochava_app_id": "kobad"},
]


def refuse_bad(body: dict[str, Any]) -> tuple[int, bytes]:
    return (401, b"{}") if body["kochava_app_id"] == "kobad" else (200, SUCCESS)


class Watched:
    """A proxy, and what is seen of it."""

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession) -> None:
        self.proxy = proxy
        self._session = session

    async def console(self) -> str:
        """Its URL, as of the last start."""
        await until(lambda: bool(self.proxy.logged("console_listening")))
        return f"http://127.0.0.1:{self.proxy.logged('console_listening')[0]['port']}"

    async def send(self, key: str, *ids: str) -> None:
        for id_ in ids:
            message = {"writeKey": key, "event": "Tested", "anonymousId": id_}
            async with self._session.post(f"{self.proxy.url}/v1/track", json=message) as answer:
                assert answer.status == 200

    async def metrics(self) -> dict[tuple[str, ...], float]:
        """Values by name and the values of the labels, in the order of these."""
        async with self._session.get(f"{await self.console()}/metrics") as answer:
            assert answer.status == 200
            families = text_string_to_metric_families(await answer.text())
        return {
            (
                sample.name.removeprefix("kochava_proxy_"),
                *(value for _, value in sorted(sample.labels.items())),
            ): sample.value
            for family in families
            for sample in family.samples
        }

    async def shows(self, *sample: str, value: float) -> None:
        async def shown() -> bool:
            return (await self.metrics()).get(sample) == value

        await until_async(shown)

    async def ready(self, url: str) -> Any:
        async with self._session.get(f"{url}/health/ready") as answer:
            assert answer.status == 200
            return await answer.json()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_refused_app_is_seen_wherever_one_looks(tmp_path: Path, workers: int) -> None:
    sink = Sink()
    sink.answer = refuse_bad
    async with serving(sink), aiohttp.ClientSession() as session:
        config = write_config(
            tmp_path, sink.url, server={"port": 0, "workers": workers}, console={"port": 0},
            delivery={"retry_max_seconds": 300}, sources=SOURCES,
        )  # fmt: skip
        async with running(config) as proxy:
            watched = Watched(proxy, session)
            await watched.send("wk_good", *(f"device-{number}" for number in range(6)))
            await watched.send("wk_bad", "device-1")
            # Labels stand in the order of their names: outcome, reason, source.
            await watched.shows("messages_total", "delivered", "", "good", value=6)
            await watched.shows("app_paused", "kobad", "status_401", value=1)
            metrics = await watched.metrics()
            assert metrics["pending", "bad"] == 1
            assert metrics["ledger_balanced",] == 1
            assert metrics["workers",] == workers
            told = {"status": "ready", "apps": {"kobad": {"paused": "status_401"}}}
            assert await watched.ready(await watched.console()) == told
            assert await watched.ready(proxy.url) == told
            code, output = await command("stats", "-c", config, "--json")
            apps = json.loads(output)["apps"]
            assert code == 0
            assert (apps["kobad"]["paused"], apps["kogood"]["paused"]) == ("status_401", None)
            assert apps["kogood"]["delivered"] == 6
            assert await proxy.end() == 0
        code, output = await command("stats", "-c", config, "--json")
        assert (code, "apps" in json.loads(output)) == (0, False)


async def test_the_ledger_goes_on_after_a_kill(tmp_path: Path) -> None:
    async with serving(Sink()) as sink, aiohttp.ClientSession() as session:
        config = write_config(tmp_path, sink.url, console={"port": 0})
        async with running(config) as proxy:
            watched = Watched(proxy, session)
            await watched.send("wk_acme", "device-1", "device-2")
            await watched.shows("messages_total", "delivered", "", "acme", value=2)
            await proxy.end(signal.SIGKILL)
            await proxy.start()
            await watched.send("wk_acme", "device-1")
            await watched.shows("messages_total", "delivered", "", "acme", value=3)
            assert (await watched.metrics())["messages_total", "received", "", "acme"] == 3
            assert await proxy.end() == 0


async def test_a_worker_that_was_killed_is_missing_only_until_it_is_back(tmp_path: Path) -> None:
    async with serving(Sink()) as sink, aiohttp.ClientSession() as session:
        config = write_config(
            tmp_path, sink.url, server={"port": 0, "workers": 2}, console={"port": 0}
        )
        async with running(config) as proxy:
            watched = Watched(proxy, session)
            await watched.shows("workers", value=2)
            before = proxy.workers()[1]
            os.kill(before, signal.SIGKILL)
            await proxy.restarted(1, before)
            await watched.shows("workers", value=2)
            assert await proxy.end() == 0


async def test_a_console_without_its_port_keeps_nobody_from_serving(tmp_path: Path) -> None:
    async with serving(Sink()) as sink, aiohttp.ClientSession() as session:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            config = write_config(tmp_path, sink.url, console={"port": port})
            async with running(config) as proxy:
                await Watched(proxy, session).send("wk_acme", "device-1")
                (line,) = proxy.logged("console_not_listening")
                assert (line["level"], line["port"]) == ("error", port)
                assert (await proxy.settles())["delivered"] == 1
                assert await proxy.end() == 0
