"""The console's port, on a real socket in front of a real file."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import msgspec
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from proxy.appstate import AppState, WorkerState
from proxy.connections import SCHEMA_VERSION
from proxy.console.server import Console
from proxy.database import Database
from proxy.observe import published
from proxy.spool import schema
from proxy.spool.sqlite import SqliteSpool
from tests.spool.helpers import events
from tests.support import NOW, FakeClock, make_config

SPOOL = "data/spool.db"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / SPOOL, (schema.SCHEMA, published.SCHEMA))
    yield database
    await database.close()


def make_console(
    folder: Path,
    not_ready: Callable[[], str | None] = lambda: None,
    clock: FakeClock | None = None,
    **settings: Any,
) -> Console:
    config = make_config(console={"port": 0, **settings})
    return Console(config, folder, not_ready, clock or FakeClock())


@asynccontextmanager
async def serving(console: Console) -> AsyncIterator[aiohttp.ClientSession]:
    await console.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{console.port}") as session:
            yield session
    finally:
        await console.stop()


async def publish(database: Database, *apps: AppState) -> None:
    state = WorkerState(0, os.getpid(), NOW, NOW, list(apps))
    row = (0, state.pid, state.at, msgspec.json.encode(state))
    await database.write(
        lambda cursor: list(cursor.execute("REPLACE INTO worker_states VALUES (?, ?, ?, ?)", row))
    )


async def test_metrics_are_those_of_the_file_as_it_is_now(
    tmp_path: Path, database: Database
) -> None:
    spool = SqliteSpool(database, FakeClock(), 86_400.0)
    await publish(database, AppState("koacme", limit=20))
    async with serving(make_console(tmp_path)) as session:
        for pending in (0, 2):
            if pending:
                await spool.append("acme", events("a", "b"), {})
            async with session.get("/metrics") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                text = await answer.text()
            found = {
                (sample.name, *sample.labels.values()): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
            assert found["kochava_proxy_pending", "acme"] == pending
            assert found["kochava_proxy_app_concurrency_limit", "koacme", "0"] == 20
            assert found["kochava_proxy_workers",] == 1


async def test_a_file_that_cannot_be_read_is_a_503_and_logged_now_and_then(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    connection = apsw.Connection(str(tmp_path / SPOOL))
    connection.pragma("user_version", SCHEMA_VERSION + 1)
    connection.close()
    with capture_logs() as logs:
        async with serving(make_console(tmp_path)) as session:
            for _ in range(3):
                async with session.get("/metrics") as answer:
                    assert (answer.status, (await answer.json())["code"]) == (503, "not_read")
            async with session.get("/health/ready") as answer:
                assert (answer.status, await answer.json()) == (200, {"status": "ready"})
    assert [log["event"] for log in logs].count("metrics_not_read") == 1


async def test_health_is_that_of_its_owner_with_the_apps_in_the_file(
    tmp_path: Path, database: Database
) -> None:
    await publish(database, AppState("koacme-ios", paused="status_401"), AppState("koacme-android"))
    reasons: list[str | None] = ["starting", None]
    async with serving(make_console(tmp_path, lambda: reasons[0])) as session:
        async with session.get("/health/ready") as answer:
            assert (answer.status, await answer.json()) == (503, {"status": "starting"})
        async with session.get("/health/live") as answer:
            assert answer.status == 200
        del reasons[0]
        async with session.get("/health/ready") as answer:
            apps = {"koacme-ios": {"paused": "status_401"}}
            assert (answer.status, await answer.json()) == (200, {"status": "ready", "apps": apps})


@pytest.mark.parametrize(
    ("path", "code"), [("/", "not_available"), ("/login", "not_found"), ("/v1/track", "not_found")]
)
async def test_what_is_not_there_is_said_in_json(tmp_path: Path, path: str, code: str) -> None:
    async with serving(make_console(tmp_path)) as session, session.get(path) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, code)


async def test_a_port_that_is_taken_is_logged_and_stops_nobody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, capture_logs() as logs:
        port = other.getsockname()[1]
        console = make_console(tmp_path, port=port)
        await console.start()
        assert console.port is None
        await console.stop()
    (log,) = logs
    assert (log["event"], log["log_level"], log["port"]) == ("console_not_listening", "error", port)
    assert "console.port" in log["mend"]


async def test_its_port_is_free_as_soon_as_it_has_stopped(tmp_path: Path) -> None:
    first = make_console(tmp_path)
    async with serving(first) as session, session.get("/health/live"):
        port = first.port
    again = make_console(tmp_path, port=port)
    async with serving(again) as session, session.get("/health/live") as answer:
        assert answer.status == 200


async def test_with_an_empty_host_there_is_none(tmp_path: Path) -> None:
    """Not one on all addresses, which is what an empty host means to a socket."""
    console = make_console(tmp_path, host="")
    with capture_logs() as logs:
        await console.start()
    assert (console.port, logs) == (None, [])
    await console.stop()


async def test_what_is_no_http_is_a_line_in_the_log_and_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A test before this one may have bound the logger to a stream that is gone.
    fresh = structlog.wrap_logger(structlog.PrintLogger())
    monkeypatch.setattr("proxy.receive.protocol._log", fresh)
    console = make_console(tmp_path)
    async with serving(console):
        reader, writer = await asyncio.open_connection("127.0.0.1", console.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nsecret: \x00\r\n\r\n")
        async with asyncio.timeout(5):
            assert b"400" in await reader.readline()
        writer.close()
        await writer.wait_closed()
    said = "".join(capfd.readouterr())
    assert "bad_http" in said
    assert "Traceback" not in said
