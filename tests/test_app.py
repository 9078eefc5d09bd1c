"""The parts wired together: started in order, closed in order, nothing left over."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import pytest
from aiohttp import web

from proxy.app import App
from proxy.errors import ConfigError, StorageBroken, StorageError
from proxy.mapping.plugins import load_plugins
from proxy.observe.stats import read_stats
from proxy.spool.base import Counts
from tests.support import NOW, make_config

MESSAGE = {"writeKey": "wk_acme", "event": "Tested", "anonymousId": "device-1"}
SPOOL = "data/spool.db"


def make_app(
    folder: Path, port: int = 0, url: str = "http://127.0.0.1:9", *, sandbox: bool = False
) -> App:
    config = make_config(
        {"kochava_app_id": "koacme"},
        server={"port": port},
        kochava={"track_url": url, "identity_link_url": url},
    )
    return App(config, folder, load_plugins(config, folder), sandbox=sandbox)


def test_authorities_that_cannot_be_used_are_said_before_anything_is_opened(
    tmp_path: Path,
) -> None:
    config = make_config(delivery={"ca_file": "ca.pem"})
    with pytest.raises(ConfigError, match=r"delivery\.ca_file: .*ca\.pem cannot be used"):
        App(config, tmp_path, load_plugins(config, tmp_path))
    assert not list(tmp_path.iterdir())


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[asyncio.Task[None]]:
    """The app started; stopped when the test is through with it."""
    await app.start()
    task = asyncio.create_task(app.serve())
    try:
        yield task
    finally:
        app.request_stop()
        async with asyncio.timeout(10):
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def kochava(handle: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    server = web.Application()
    server.router.add_post("/", handle)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def call(app: App, path: str, message: dict[str, Any] | None = None) -> int:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{app.port}") as session:
        method = "POST" if message else "GET"
        async with session.request(method, path, json=message) as answer:
            return answer.status


def counts(folder: Path) -> Counts:
    return read_stats(folder / SPOOL, ["acme"], NOW).sources["acme"]


@pytest.fixture(autouse=True)
async def _nothing_is_left_running() -> AsyncIterator[None]:
    threads = {thread.name for thread in threading.enumerate()}
    yield
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others
    assert "spool-writer" not in {thread.name for thread in threading.enumerate()} - threads


async def test_a_message_goes_the_whole_way_and_its_answer_is_waited_for_at_the_end(
    tmp_path: Path,
) -> None:
    came, may_answer = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        came.set()
        await may_answer.wait()
        return web.json_response({"success": "1"})

    async with kochava(handle) as url:
        app = make_app(tmp_path, url=url)
        async with serving(app) as serve:
            assert await call(app, "/health/live") == 200
            assert await call(app, "/health/ready") == 200
            assert await call(app, "/v1/track", MESSAGE) == 200
            async with asyncio.timeout(5):
                await came.wait()
            app.request_stop()
            await asyncio.sleep(0)
            assert not serve.done()
            may_answer.set()
    assert (counts(tmp_path).delivered, counts(tmp_path).pending) == (1, 0)


async def test_what_was_not_delivered_is_delivered_after_the_next_start(tmp_path: Path) -> None:
    app = make_app(tmp_path)  # nobody listens there
    async with serving(app):
        assert await call(app, "/v1/track", MESSAGE) == 200
    assert counts(tmp_path).pending == 1
    came = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        came.set()
        return web.json_response({"success": "1"})

    async with kochava(handle) as url, serving(make_app(tmp_path, url=url)), asyncio.timeout(10):
        await came.wait()
    assert counts(tmp_path).delivered == 1


async def test_it_is_not_ready_any_more_once_asked_to_stop(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    await app.start()
    port = app.port
    app.request_stop()
    assert await call(app, "/health/ready") == 503
    assert await call(app, "/health/live") == 200
    app.request_stop()  # an impatient second Ctrl-C
    await app.serve()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_in_use_leaves_nothing_running_and_the_spool_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError) as caught:
        await make_app(tmp_path, other.getsockname()[1]).start()
    assert caught.value.errno == errno.EADDRINUSE
    async with serving(make_app(tmp_path)) as serve:
        assert not serve.done()


async def test_a_spool_in_use_is_refused_before_anything_listens(tmp_path: Path) -> None:
    async with serving(make_app(tmp_path)):
        with pytest.raises(StorageError, match="another kochava-proxy"):
            await make_app(tmp_path).start()


@pytest.mark.parametrize("trial_first", [True, False], ids=["trial events", "real events"])
async def test_events_of_the_sandbox_and_of_kochava_are_kept_apart(
    tmp_path: Path, trial_first: bool
) -> None:
    first = make_app(tmp_path, sandbox=trial_first)
    async with serving(first):
        assert await call(first, "/v1/track", MESSAGE) == 200
    with pytest.raises(StorageError, match=r"1 (trial|real) events are pending"):
        await make_app(tmp_path, sandbox=not trial_first).start()
    async with serving(make_app(tmp_path, sandbox=trial_first)) as serve:
        assert not serve.done()


async def test_a_broken_disk_ends_it_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(tmp_path)

    def fail(*_: object) -> None:
        raise apsw.IOError("disk I/O error")

    async with serving(app) as serve:
        # The proxy writes something every second, and may end by that before it is asked. Who is
        # connected already is cut off then; asyncio's own loop forgets who connects meanwhile.
        async with aiohttp.ClientSession(f"http://127.0.0.1:{app.port}") as session:
            async with session.get("/health/live"):
                monkeypatch.setattr(app._database._committer, "_transaction", fail)
            with suppress(aiohttp.ClientError):
                async with session.post("/v1/track", json=MESSAGE) as answer:
                    assert answer.status == 503
        with pytest.raises(StorageBroken, match="disk I/O error"):
            async with asyncio.timeout(10):
                await serve


async def test_a_forwarder_that_dies_takes_the_process_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(tmp_path)

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async with serving(app) as serve:
        monkeypatch.setattr(app._forwarder, "_prepare", fail)
        assert await call(app, "/v1/track", MESSAGE) == 200
        with pytest.raises(RuntimeError, match="a fault of ours"):
            async with asyncio.timeout(10):
                await serve
    assert counts(tmp_path).pending == 1
