"""The sandbox as Kochava tells of installs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.sandbox.firing import ATTRIBUTIONS, TRIES, postback_for
from proxy.sandbox.server import TRACK_PATH, Sandbox
from tests.end_to_end.processes import listening, until

INSTALL: dict[str, Any] = {
    "action": "install",
    "kochava_app_id": "koacme",
    "kochava_device_id": "d-1",
    "data": {
        "device_ids": {"adid": "0d9c2b7a-1111-4222-8333-444455556666"},
        "device_ua": "UA",
        "device_ver": "",
        "origination_ip": "203.0.113.9",
        "usertime": 1_767_225_600,
    },
}


class Home:
    """Where postbacks go; the first `failing` calls fail."""

    def __init__(self, failing: int = 0) -> None:
        self.calls: list[dict[str, str]] = []
        self._failing = failing

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append(dict(request.query))
        return web.Response(status=503 if len(self.calls) <= self._failing else 200)


@asynccontextmanager
async def firing(home: Home) -> AsyncIterator[Sandbox]:
    app = web.Application()
    app.router.add_get("/postback", home.take)
    async with listening(app) as url:
        sandbox = Sandbox()
        await sandbox.start()
        sandbox.fire_at({"koacme": f"{url}/postback"}.get, delay_seconds=0)
        try:
            yield sandbox
        finally:
            await sandbox.stop()


async def send(sandbox: Sandbox, body: dict[str, Any]) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.post(sandbox.url + TRACK_PATH, json=body) as answer,
    ):
        return await answer.json()


@pytest.mark.parametrize("failing", [0, 3])
async def test_an_install_brings_a_postback_until_it_is_taken(failing: int) -> None:
    home = Home(failing)
    async with firing(home) as sandbox:
        assert await send(sandbox, INSTALL) == {"success": "1"}
        await until(lambda: len(home.calls) == failing + 1)
        assert home.calls == [postback_for(INSTALL)] * (failing + 1)


async def test_it_gives_up_after_some_tries() -> None:
    home = Home(failing=1_000)
    async with firing(home) as sandbox:
        await send(sandbox, INSTALL)
        await until(lambda: not sandbox._firing or not sandbox._firing._under_way)
        assert len(home.calls) == TRIES


async def test_nothing_else_does() -> None:
    home = Home()
    async with firing(home) as sandbox:
        event = {**INSTALL, "action": "event"}
        event["data"] = {**INSTALL["data"], "event_name": "Tested"}
        assert await send(sandbox, event) == {"success": "1"}
        assert (await send(sandbox, {**INSTALL, "data": {}}))["success"] == "0"
        assert await send(sandbox, {**INSTALL, "kochava_app_id": "other"}) == {"success": "1"}
        await send(sandbox, INSTALL)  # the last, which brings the only one
        await until(lambda: bool(home.calls))
    assert len(home.calls) == 1


async def test_an_end_gives_up_what_is_under_way() -> None:
    home = Home()
    async with firing(home) as sandbox:
        assert sandbox._firing is not None
        sandbox._firing._delay = 3_600
        await send(sandbox, INSTALL)
        async with asyncio.timeout(5):
            await sandbox.stop()
    assert home.calls == []


def test_what_is_not_known_stays_a_macro() -> None:
    said = postback_for(INSTALL)
    assert said["idfa"] == "{idfa}"
    assert said["adid"] == INSTALL["data"]["device_ids"]["adid"]
    assert (said["event_name"], said["kochava_device_id"]) == ("_install", "d-1")
    assert any(said.items() >= each.items() for each in ATTRIBUTIONS)
    assert postback_for({"data": [], "kochava_device_id": None})["adid"] == "{adid}"
