"""A short run of what `make fuzz` does at length."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.hostile.flood import attempts, report_of
from tests.hostile.fuzz import besieged, broken_promises
from tests.hostile.requests import Hostile
from tests.hostile.sender import Steady, Tally, hammer
from tests.hostile.steady import report_of as good_report

REQUESTS = 3_000
CLIENTS = 16


async def test_a_flood_of_hostile_requests_costs_no_good_message(tmp_path: Path) -> None:
    async with besieged(tmp_path) as (proxy, sink):
        tally, stop, steady = Tally(), asyncio.Event(), Steady(proxy.port, "good")
        good = asyncio.create_task(steady.run(stop))
        await hammer(proxy.port, attempts(1, REQUESTS), CLIENTS, tally)
        stop.set()
        await good
        problems = [
            each
            async for each in broken_promises(proxy, sink, report_of(tally), good_report(steady))
        ]
    assert problems == []
    assert tally.attempts == REQUESTS
    assert len(steady.sent) > 10
    assert tally.statuses["200"] > REQUESTS / 3


def test_a_seed_names_the_same_requests_for_ever() -> None:
    first, second = Hostile(5), Hostile(5)
    assert [first.next() for _ in range(500)] == [second.next() for _ in range(500)]


def test_all_kinds_of_requests_come_up() -> None:
    kinds = {attempt.kind for attempt in attempts(1, 1_000)}
    assert len(kinds) == 20
