"""Bulk events leave the process idle for a part of the time while live ones come."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import Delivery
from proxy.deliver.courtesy import LIVE_SECONDS, OWED, SAVED, SHORTEST, Courtesy
from tests.support import FakeClock

BUSY = 0.5


def made(clock: FakeClock, **settings: Any) -> Courtesy:
    return Courtesy(Delivery(**{"bulk_busy": BUSY, **settings}), clock)


async def test_without_live_events_bulk_may_keep_the_process_busy() -> None:
    clock = FakeClock()
    courtesy = made(clock)
    clock.work(60.0)
    assert courtesy.seconds_to_wait() == 0
    courtesy.handed_out(1, bulk=False)
    assert courtesy.seconds_to_wait() > 0
    await clock.advance(LIVE_SECONDS)
    assert courtesy.seconds_to_wait() == 0


async def test_after_work_it_waits_until_the_process_was_idle_for_its_part_of_the_time() -> None:
    clock = FakeClock()
    courtesy = made(clock)
    courtesy.handed_out(1, bulk=False)
    clock.work(0.01)
    assert courtesy.seconds_to_wait() == pytest.approx(0.01 / BUSY)
    await clock.advance(0.01)
    assert courtesy.seconds_to_wait() == pytest.approx(0.005 / BUSY)
    await clock.advance(0.01)
    assert courtesy.seconds_to_wait() in (0, SHORTEST)


@pytest.mark.parametrize("busy", [0.2, 0.6, 1.0])
async def test_over_a_while_bulk_works_for_its_part_of_the_time(busy: float) -> None:
    clock, worked, passed = FakeClock(), 0.0, 0.0
    courtesy = made(clock, bulk_busy=busy, bulk_share=0.0)
    while passed < 10:
        courtesy.handed_out(1, bulk=False)
        step = courtesy.seconds_to_wait()
        if not step:
            step = 0.001
            clock.work(step)
            worked += step
        await clock.advance(step)
        passed += step
    assert worked == pytest.approx(busy * passed, rel=0.02)


async def test_a_quiet_hour_is_not_made_up_for_and_much_work_at_once_is_soon_forgotten() -> None:
    clock = FakeClock()
    courtesy = made(clock)
    await clock.advance(3_600)
    courtesy.handed_out(1, bulk=False)
    clock.work(SAVED / 2)
    assert courtesy.seconds_to_wait() == 0
    clock.work(3_600)
    assert courtesy.seconds_to_wait() <= OWED / BUSY


def test_however_busy_it_is_bulk_gets_its_share() -> None:
    clock = FakeClock()
    courtesy = made(clock, bulk_share=0.2)
    handed_out = 0
    for _ in range(1_000):
        clock.work(1.0)
        courtesy.handed_out(1, bulk=False)
        if not courtesy.seconds_to_wait():
            courtesy.handed_out(1, bulk=True)
            handed_out += 1
    assert handed_out == pytest.approx(250, abs=2)
