from __future__ import annotations

import asyncio
import time

import pytest

from proxy.clock import SystemClock, system_chance
from tests.support import FakeClock


def test_the_time_is_epoch_seconds() -> None:
    before = time.time()
    assert before <= SystemClock().now() <= time.time()


@pytest.mark.parametrize("seconds", [None, 3_600.0], ids=["without a bound", "with a bound"])
async def test_a_wait_ends_when_its_event_is_set(seconds: float | None) -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(SystemClock().wait(event, seconds))
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize("seconds", [0.0, 0.01, -1.0])
async def test_a_wait_ends_quietly_when_its_time_has_come(seconds: float) -> None:
    await asyncio.wait_for(SystemClock().wait(asyncio.Event(), seconds), 5)


async def test_a_wait_can_be_cancelled() -> None:
    waiting = asyncio.ensure_future(SystemClock().wait(asyncio.Event(), 3_600))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_clock_of_the_tests_wakes_at_the_moment_asked_for_and_not_before() -> None:
    clock = FakeClock()
    waiting = asyncio.ensure_future(clock.wait(asyncio.Event(), 10))
    await asyncio.sleep(0)
    await clock.advance(9.5)
    await asyncio.sleep(0)
    assert not waiting.done()
    await clock.advance(0.5)
    await asyncio.wait_for(waiting, 5)


def test_chance_is_in_the_range_that_back_off_relies_on() -> None:
    numbers = {system_chance().random() for _ in range(100)}
    assert all(0 <= number < 1 for number in numbers)
    assert len(numbers) > 1
