"""Attribution comes home: installs and identifies by Segment's own client, postbacks from outside,
and a Segment that writes down what it got; the process between them is killed twice.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import pytest
from aiohttp import web
from segment.analytics.client import Client  # type: ignore[import-untyped]  # it has no types

from tests.end_to_end.processes import (
    PATIENCE,
    Proxy,
    Sink,
    listening,
    running,
    serving,
    until,
    write_config,
)

TOKEN: Final = "pb-3f9a"
INSTALLS: Final = 60
SOURCE: Final = {
    "name": "acme",
    "write_key": "wk_acme",
    "kochava_app_id": "koacme",
    "postback_token": TOKEN,
    "segment_write_key": "wk_segment",
}


class Segment:
    """Its Tracking API; every fifth call fails, as at Kochava."""

    def __init__(self) -> None:
        self.tracks: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.url = ""
        self._calls = 0

    async def handle(self, request: web.Request) -> web.Response:
        self._calls += 1
        if self._calls % 5 == 0:
            return web.Response(status=503)
        self.keys.add(request.headers["Authorization"])
        self.tracks.append(msgspec.json.decode(await request.read()))
        return web.json_response({"success": True})

    def by_device(self) -> dict[str, list[dict[str, Any]]]:
        found = defaultdict(list)
        for track in self.tracks:
            found[track["context"]["device"]["id"]].append(track)
        return found


@asynccontextmanager
async def segment_side() -> AsyncIterator[Segment]:
    segment = Segment()
    app = web.Application()
    app.router.add_post("/v1/track", segment.handle)
    async with listening(app) as url:
        segment.url = f"{url}/v1"
        yield segment


class Install:
    """One device's story. Some postbacks come before the install, some of devices that never
    say anything; some twice.
    """

    def __init__(self, number: int) -> None:
        self.device = f"device-{number}"
        self.user = f"u-{number}"
        self.form = ("query", "form", "json")[number % 3]
        self.twice = number % 4 == 0
        self.early = number % 5 == 0
        self.unknown = number % 7 == 0

    @property
    def fields(self) -> dict[str, str]:
        return {
            "event_name": "_install",
            "kochava_device_id": self.device,
            "idfa": "{idfa}",
            "network_name": "Acme Ads",
            "campaign": "Spring & Süd",
            "creative": "",
        }

    def send(self, client: Client) -> None:
        adid = f"0d9c2b7a-1111-4222-8333-{int(self.user[2:]):012}"
        context = {"device": {"id": self.device, "advertisingId": adid, "type": "android"}}
        anonymous = f"a-{self.device}"
        client.track(anonymous_id=anonymous, event="Application Installed", context=context)
        client.identify(self.user, anonymous_id=anonymous, context=context)


async def post_back(session: aiohttp.ClientSession, proxy: Proxy, install: Install) -> None:
    """As Kochava: again until it is taken."""
    for _ in range(2 if install.twice else 1):
        async with asyncio.timeout(PATIENCE):
            while not await _taken(session, proxy, install):  # noqa: ASYNC110  as Kochava
                await asyncio.sleep(0.1)


async def _taken(session: aiohttp.ClientSession, proxy: Proxy, install: Install) -> bool:
    url, fields = f"{proxy.url}/postbacks/kochava/{TOKEN}", install.fields
    match install.form:
        case "query":
            call = session.get(url, params=fields)
        case "form":
            call = session.post(url, data=fields)
        case _:
            call = session.post(url, json=fields)
    try:
        async with call as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError):
        return False


def send_all(proxy: Proxy, installs: list[Install], failures: list[object]) -> None:
    """What a customer's servers do; blocks until all is sent."""
    client = Client(
        "wk_acme", host=proxy.url, upload_size=5, on_error=lambda *what: failures.append(what)
    )
    for install in installs:
        if not install.unknown:
            install.send(client)
    client.flush()
    client.join()


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_install_comes_home_once_with_its_user(tmp_path: Path, workers: int) -> None:
    installs = [Install(number) for number in range(INSTALLS)]
    failures: list[object] = []
    async with serving(Sink()) as kochava, segment_side() as segment:
        config = write_config(
            tmp_path,
            kochava.url,
            server={"port": await _free_port(), "workers": workers},
            segment={"api_url": segment.url},
            postbacks={"hold_seconds": 12, "user_hold_seconds": 12},
            sources=[SOURCE],
        )
        async with running(config) as proxy, aiohttp.ClientSession() as session:
            await asyncio.gather(
                *(post_back(session, proxy, each) for each in installs if each.early)
            )
            customer = threading.Thread(
                target=send_all, args=(proxy, installs, failures), daemon=True
            )
            customer.start()
            late = asyncio.gather(
                *(post_back(session, proxy, each) for each in installs if not each.early)
            )
            for seen in (10, 30):
                await until(lambda seen=seen: len(kochava.requests) >= seen)  # type: ignore[misc]
                await proxy.end(signal.SIGKILL)
                await proxy.start()
            await late
            await until(lambda: not customer.is_alive(), seconds=60)
            assert failures == []
            await until(lambda: len(segment.by_device()) == INSTALLS, seconds=60)
            counts = await proxy.settles()
            assert (counts["rejected"], counts["filtered"], counts["dead"]) == ({}, {}, 0)

    for install in installs:
        tracks = segment.by_device()[install.device]
        assert len({track["messageId"] for track in tracks}) == 1
        for track in tracks:
            assert track["event"] == "Install Attributed"
            assert track["properties"] == {
                "provider": "Kochava",
                "campaign": {"source": "Acme Ads", "name": "Spring & Süd"},
            }
            if install.unknown:
                assert (track["anonymousId"], track.get("userId")) == (install.device, None)
            else:
                expected = (f"a-{install.device}", install.user)
                assert (track["anonymousId"], track.get("userId")) == expected
    assert len({tracks[0]["messageId"] for tracks in segment.by_device().values()}) == INSTALLS


async def _free_port() -> int:
    """One that stays the same over restarts, which clients need."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port
