from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from proxy.appstate import AppState, WorkerState
from proxy.errors import StorageError
from proxy.receive import health
from tests.receive.conftest import Door
from tests.support import NOW

Client = Any


@pytest.mark.parametrize("reason", ["starting", "stopping"])
async def test_ready_says_why_it_is_not_while_live_stays_well(door: Door, reason: str) -> None:
    door.not_ready = reason
    ready, live = await door.client.get("/health/ready"), await door.client.get("/health/live")
    assert (ready.status, await ready.json()) == (503, {"status": reason})
    assert (live.status, await live.json()) == (200, {"status": "live"})


async def test_ready_when_nothing_stands_against_it(door: Door) -> None:
    answer = await door.client.get("/health/ready")
    assert (answer.status, await answer.json()) == (200, {"status": "ready"})


async def ready_with(aiohttp_client: Client, *workers: list[AppState]) -> tuple[int, Any]:
    """What a proxy answers whose workers are in these states."""

    async def states() -> list[WorkerState]:
        return [WorkerState(index, 1, NOW, NOW, apps) for index, apps in enumerate(workers)]

    app = web.Application()
    health.add_routes(app, lambda: None, states)
    answer = await (await aiohttp_client(app)).get("/health/ready")
    return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (AppState("ko", paused="status_401"), {"paused": "status_401"}),
        (AppState("ko", breaker="open"), {"breaker": "open"}),
        (AppState("ko", breaker="half_open"), {"breaker": "half_open"}),
        (
            AppState("ko", paused="status_403", breaker="open"),
            {"paused": "status_403", "breaker": "open"},
        ),
    ],
    ids=["paused", "given up", "being tried", "both"],
)
async def test_a_bad_app_is_told_of_and_traffic_is_taken_all_the_same(
    aiohttp_client: Client, state: AppState, told: dict[str, str]
) -> None:
    well = AppState("well", limit=20, rate=3.0, retried=99)
    found = await ready_with(aiohttp_client, [well, AppState("ko")], [well, state])
    assert found == (200, {"status": "ready", "apps": {"ko": told}})


async def test_apps_that_are_well_are_not_worth_a_word(aiohttp_client: Client) -> None:
    assert await ready_with(aiohttp_client, [AppState("ko")]) == (200, {"status": "ready"})


async def test_what_cannot_be_read_makes_nothing_unready(aiohttp_client: Client) -> None:
    async def states() -> list[WorkerState]:
        raise StorageError("no room")

    app = web.Application()
    health.add_routes(app, lambda: None, states)
    answer = await (await aiohttp_client(app)).get("/health/ready")
    assert (answer.status, await answer.json()) == (200, {"status": "ready"})
