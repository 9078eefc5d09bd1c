from __future__ import annotations

import pytest

from tests.receive.conftest import Door


@pytest.mark.parametrize("reason", ["starting", "stopping"])
async def test_ready_says_why_it_is_not_while_live_stays_well(door: Door, reason: str) -> None:
    door.not_ready = reason
    ready, live = await door.client.get("/health/ready"), await door.client.get("/health/live")
    assert (ready.status, await ready.json()) == (503, {"status": reason})
    assert (live.status, await live.json()) == (200, {"status": "live"})


async def test_ready_when_nothing_stands_against_it(door: Door) -> None:
    answer = await door.client.get("/health/ready")
    assert (answer.status, await answer.json()) == (200, {"status": "ready"})
