"""Bulk events leave the process idle for a part of the time while live ones come."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy.config import Delivery
from proxy.database import Database
from proxy.deliver.apps import Apps
from proxy.deliver.courtesy import LATE_SECONDS, LIVE_SECONDS, LONGEST, Courtesy
from proxy.deliver.leasing import BULK_SLICE, SLICE, Leasing
from proxy.spool import schema
from proxy.spool.sqlite import SqliteSpool
from tests.spool.helpers import events
from tests.support import FakeClock, FixedChance

WORK = 0.0007  # seconds that a bulk event takes in these tests


def made(clock: FakeClock, **settings: Any) -> Courtesy:
    return Courtesy(Delivery(**settings), clock)


async def handed_out(
    courtesy: Courtesy, clock: FakeClock, seconds: float, *, live_every: float, live_work: float
) -> list[float]:
    """When bulk events were, if there are always some, and a live one comes so often."""
    moments, passed, live_at = [], 0.0, 0.0
    while passed < seconds:
        if passed >= live_at:
            clock.work(live_work)
            courtesy.handed_out(1, bulk=False)
            live_at += live_every
        if not courtesy.seconds_to_wait():
            courtesy.handed_out(1, bulk=True)
            moments.append(passed)
            clock.work(WORK)
        await clock.advance(step := max(0.0001, courtesy.seconds_to_wait()))
        passed += step
    return moments


@pytest.mark.parametrize("busy", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("live_work", [0.0, 0.001])
async def test_with_live_events_all_work_takes_that_part_of_the_time(
    busy: float, live_work: float
) -> None:
    clock = FakeClock()
    courtesy = made(clock, bulk_busy=busy, bulk_share=0.0)
    await handed_out(courtesy, clock, 5, live_every=0.01, live_work=live_work)
    before = clock.worked()
    moments = await handed_out(courtesy, clock, 10, live_every=0.01, live_work=live_work)
    assert (clock.worked() - before) / 10 == pytest.approx(busy, rel=0.15)
    longest = max(later - sooner for sooner, later in pairwise(moments))
    assert longest < 2 * 10 / len(moments)  # evenly


async def test_without_live_events_bulk_may_keep_the_process_busy() -> None:
    clock = FakeClock()
    courtesy = made(clock)
    for _ in range(100):
        assert courtesy.seconds_to_wait() == 0
        courtesy.handed_out(2, bulk=True)
        clock.work(1.0)
    courtesy.handed_out(1, bulk=False)
    courtesy.handed_out(2, bulk=True)
    assert courtesy.seconds_to_wait() > 0
    await clock.advance(LIVE_SECONDS)
    assert courtesy.seconds_to_wait() == 0


async def test_a_quiet_hour_is_not_made_up_for() -> None:
    clock = FakeClock()
    courtesy = made(clock, bulk_share=0.0)
    courtesy.handed_out(1, bulk=True)
    await clock.advance(3_600)
    moments = await handed_out(courtesy, clock, 1, live_every=0.01, live_work=0.0)
    assert len([at for at in moments if at < LATE_SECONDS]) < 5


async def test_much_work_at_once_makes_none_wait_for_long() -> None:
    clock = FakeClock()
    courtesy = made(clock, bulk_share=0.0)
    for _ in range(100):
        clock.work(60.0)
        courtesy.handed_out(1, bulk=False)
        courtesy.handed_out(1, bulk=True)
        assert courtesy.seconds_to_wait() <= LONGEST
        await clock.advance(LONGEST)


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


@pytest.mark.parametrize("live", [False, True])
async def test_bulk_events_are_handed_out_a_few_at_a_time_while_live_ones_are_expected(
    tmp_path: Path, *, live: bool
) -> None:
    clock = FakeClock()
    database = Database(tmp_path / "spool.db", (schema.SCHEMA,))
    spool = SqliteSpool(database, clock, 0)
    await spool.append("acme", events(*(f"m-{n}" for n in range(50)), bulk=True), {})
    courtesy = Courtesy(Delivery(bulk_busy=1.0), clock)
    if live:
        courtesy.handed_out(1, bulk=False)
    apps = Apps[Any](["koacme"], Delivery(), FixedChance(0.0))
    leasing = Leasing(spool, apps, lambda _: 100, courtesy)
    assert len(leasing.fresh()) == (BULK_SLICE if live else SLICE)
    await database.close()
