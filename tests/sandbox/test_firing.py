"""The sandbox as Kochava tells of installs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.sandbox.firing import RETRY_SECONDS, TRIES, Firing
from proxy.sandbox.server import TRACK_PATH, Sandbox
from proxy.sandbox.template import values_for
from tests.end_to_end.processes import listening, until, until_async
from tests.support import FakeClock

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


DELAY = 60.0


class Home:
    """Where postbacks go; the first `failing` calls fail."""

    def __init__(self, failing: int = 0) -> None:
        self.calls: list[dict[str, str]] = []
        self.url = ""
        self._failing = failing

    async def take(self, request: web.Request) -> web.Response:
        given = dict(request.query)
        if request.content_type == "application/json":
            given |= await request.json()
        elif request.method == "POST":
            given |= {name: str(value) for name, value in (await request.post()).items()}
        self.calls.append(given)
        return web.Response(status=503 if len(self.calls) <= self._failing else 200)

    @property
    def devices(self) -> list[str]:
        return [call["kochava_device_id"] for call in self.calls]


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    home = Home()
    app = web.Application()
    app.router.add_route("*", "/postback", home.take)
    async with listening(app) as url:
        home.url = f"{url}/postback"
        yield home


@asynccontextmanager
async def firing(clock: FakeClock, urls: Sequence[str], **how: Any) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(clock=clock)
    await sandbox.start()
    apps = {"koacme": urls}
    sandbox.fire_at(lambda app_id: apps.get(app_id, ()), **{"delay_seconds": DELAY, **how})
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


async def settled(sandbox: Sandbox, clock: FakeClock) -> None:
    """Time passes until nothing is under way."""

    async def nothing_waits() -> bool:
        await clock.advance(DELAY)
        return not sandbox._firing.waiting

    await until_async(nothing_waits)


def of_device(name: str) -> dict[str, Any]:
    return {**INSTALL, "kochava_device_id": name}


@pytest.mark.parametrize("failing", [0, 3])
async def test_an_install_brings_a_postback_until_it_is_taken(
    clock: FakeClock, home: Home, failing: int
) -> None:
    home._failing = failing
    async with firing(clock, [home.url]) as sandbox:
        assert await send(sandbox, INSTALL) == {"success": "1"}
        await settled(sandbox, clock)
    assert len(home.calls) == failing + 1
    assert all(call.items() >= _sent().items() for call in home.calls)


def _sent() -> dict[str, str]:
    return {name: value for name, value in values_for(INSTALL).items() if name != "network"}


@pytest.mark.parametrize("method", ["get", "post-form", "post-json"])
async def test_a_url_with_macros_is_called_as_its_template_says(
    clock: FakeClock, home: Home, method: str
) -> None:
    template = home.url + "?kochava_device_id={kochava_device_id}&x={shoe_size}&y=%7Bip%7D"
    async with firing(clock, [template], method=method) as sandbox:
        await send(sandbox, of_device("d&1 é{idfa}"))
        await settled(sandbox, clock)
    assert home.calls == [
        {"kochava_device_id": "d&1 é{idfa}", "x": "{shoe_size}", "y": "203.0.113.9"}
    ]


async def test_it_waits_for_as_long_as_it_was_told(clock: FakeClock, home: Home) -> None:
    home._failing = 1
    async with firing(clock, [home.url]) as sandbox:
        await send(sandbox, INSTALL)
        for number, seconds in enumerate((DELAY, RETRY_SECONDS)):
            await until(lambda: clock.waiting == 1)
            await clock.advance(seconds - 0.5)
            await send(sandbox, {**INSTALL, "kochava_app_id": "other"})  # time for a call, if any
            assert len(home.calls) == number
            await clock.advance(0.5)
            await until(lambda number=number: len(home.calls) == number + 1)  # type: ignore[misc]


async def test_one_that_is_given_up_is_reported_without_ids(clock: FakeClock, home: Home) -> None:
    home._failing = 1_000
    with capture_logs() as logs:
        async with firing(clock, [home.url]) as sandbox:
            await send(sandbox, INSTALL)
            await settled(sandbox, clock)
    assert len(home.calls) == TRIES
    [line] = logs
    assert (line["event"], line["log_level"]) == ("postback_given_up", "warning")
    assert (line["app"], line["tries"], line["reason"]) == ("koacme", TRIES, "status_503")
    assert home.url not in str(line)
    assert "d-1" not in str(line)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/nobody", "http://{platform}:x/"])
async def test_a_url_that_cannot_be_called_is_given_up_too(clock: FakeClock, url: str) -> None:
    with capture_logs() as logs:
        async with firing(clock, [url]) as sandbox:
            await send(sandbox, INSTALL)
            await settled(sandbox, clock)
    assert [line["event"] for line in logs] == ["postback_given_up"]


async def test_nothing_but_an_install_of_such_an_app_does(clock: FakeClock, home: Home) -> None:
    async with firing(clock, [home.url]) as sandbox:
        event = {**INSTALL, "action": "event"}
        event["data"] = {**INSTALL["data"], "event_name": "Tested"}
        assert await send(sandbox, event) == {"success": "1"}
        assert (await send(sandbox, {**INSTALL, "data": {}}))["success"] == "0"
        assert await send(sandbox, {**INSTALL, "kochava_app_id": "other"}) == {"success": "1"}
        assert sandbox._firing.waiting == 0


async def test_every_url_of_an_app_is_called(clock: FakeClock, home: Home) -> None:
    async with firing(clock, [f"{home.url}?of=a", f"{home.url}?of=b"]) as sandbox:
        await send(sandbox, INSTALL)
        await settled(sandbox, clock)
    assert sorted(call["of"] for call in home.calls) == ["a", "b"]


async def test_installs_wait_until_the_url_is_known(clock: FakeClock, home: Home) -> None:
    sandbox = Sandbox(clock=clock)
    await sandbox.start()
    await send(sandbox, INSTALL)
    sandbox.fire_at(lambda _: (home.url,), delay_seconds=0)
    await send(sandbox, of_device("d-2"))
    await settled(sandbox, clock)
    await sandbox.stop()
    assert sorted(home.devices) == ["d-1", "d-2"]


async def test_only_so_many_wait_and_the_others_are_reported(clock: FakeClock, home: Home) -> None:
    firing = Firing(clock, max_waiting=2)
    with capture_logs() as logs:
        for number in range(5):
            firing.installed(of_device(f"early-{number}"))
        firing.begin(lambda _: (home.url,), "get", DELAY)
        assert (logs, firing.waiting) == ([_dropped(3)], 2)
        for number in range(2):
            firing.installed(of_device(f"late-{number}"))
        await clock.advance(10)
        firing.installed(of_device("late-2"))
        assert logs[1:] == [_dropped(1), _dropped(2)]
        await firing.stop()


def _dropped(times: int) -> dict[str, Any]:
    return {
        "room": "sandbox", "event": "postback_dropped", "log_level": "warning", "times": times
    }  # fmt: skip


async def test_an_end_gives_up_what_is_under_way(clock: FakeClock, home: Home) -> None:
    async with firing(clock, [home.url]) as sandbox:
        await send(sandbox, INSTALL)
        assert sandbox._firing.waiting == 1
        async with asyncio.timeout(5):
            await sandbox.stop()
    assert home.calls == []
