from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.cli.conftest import Cli
from tests.end_to_end.processes import COMMAND, listening, until
from tests.sandbox.test_rules import INSTALL


@pytest.mark.parametrize(
    "option", ["--host", "--port", "--record", "--latency-ms", "--fail-rate", "--fail-status"]
)
def test_its_options_are_those_of_the_contract(cli: Cli, option: str) -> None:
    assert f"{option} " in cli("sandbox", "--help").stdout


def test_a_port_in_use_is_bad_use(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "address already in use" in cli("sandbox", "--port", str(port), code=2).stderr


@pytest.mark.parametrize("url", ["", "acme.example/x", "ftp://acme.example", "http://", "http://["])
def test_a_postback_url_that_cannot_be_called_is_bad_use(cli: Cli, url: str) -> None:
    assert "is not a URL" in cli("sandbox", "--postback-url", url, code=2).stderr


def test_a_way_of_calling_that_there_is_not_is_bad_use(cli: Cli) -> None:
    said = cli("sandbox", "--postback-method", "put", code=2).stderr
    assert "'get', 'post-form', 'post-json'" in said


class Home:
    """Where postbacks go: each as method, query and body, and when it came."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.at = 0.0

    async def take(self, request: web.Request) -> web.Response:
        self.at = time.monotonic()
        body: Any = {}
        if request.method == "POST":
            is_json = request.content_type == "application/json"
            body = await request.json() if is_json else dict(await request.post())
        self.calls.append((request.method, dict(request.query), body))
        return web.Response()


@asynccontextmanager
async def sandbox(*options: str) -> AsyncIterator[str]:
    """The real command; its track_url. Ended as by a supervisor."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, "sandbox", "--port", "0", *options, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        told = (await process.stdout.readuntil(b"/v1\n")).decode()
        [url] = re.findall(r"^track_url += (.*)$", told, re.MULTILINE)
        yield url
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def at_home() -> AsyncIterator[tuple[Home, str]]:
    home, app = Home(), web.Application()
    app.router.add_route("*", "/in", home.take)
    async with listening(app) as url:
        yield home, f"{url}/in"


async def install(url: str) -> float:
    """Sends one; when it had been answered."""
    async with aiohttp.ClientSession() as session, session.post(url, json=INSTALL) as answer:
        assert await answer.json() == {"success": "1"}
    return time.monotonic()


FIELDS = {"id": INSTALL["kochava_device_id"], "idfa": INSTALL["data"]["device_ids"]["idfa"]}


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("get", ("GET", FIELDS, {})),
        ("post-form", ("POST", {}, FIELDS)),
        ("post-json", ("POST", {}, FIELDS)),
    ],
)
async def test_an_install_brings_a_postback_as_the_options_say(method: str, call: object) -> None:
    async with at_home() as (home, url):
        template = url + "?id={kochava_device_id}&idfa={idfa}"
        options = ("--postback-method", method, "--postback-delay-ms", "200")
        async with sandbox("--postback-url", template, *options) as track_url:
            began = time.monotonic()
            await install(track_url)
            await until(lambda: bool(home.calls))
        assert home.calls == [call]
        assert home.at - began >= 0.2


async def test_one_that_waits_does_not_keep_it_from_ending() -> None:
    options = ("--postback-url", "http://127.0.0.1:9/", "--postback-delay-ms", "3600000")
    async with asyncio.timeout(10), sandbox(*options) as track_url:
        await install(track_url)
