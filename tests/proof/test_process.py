"""The process is ended, stopped or told a wrong time: nothing is lost, and little is repeated."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.proof.faults import DOWN, ERROR, RESET_WHILE_ANSWERING, Mixed
from tests.proof.trial import WORKERS, trial

for_workers = pytest.mark.parametrize("workers", WORKERS)
for_one = pytest.mark.parametrize("workers", WORKERS[:1])  # time is short

FAULTS = (DOWN, ERROR, RESET_WHILE_ANSWERING)


@for_workers
async def test_killed_at_random_while_a_fifth_of_the_calls_fail(
    tmp_path: Path, workers: int
) -> None:
    async with trial(tmp_path, 10, workers) as proof:
        proof.sink.plan = Mixed(proof.chance, 20, FAULTS)
        async with proof.sending(600):
            for kill in range(1, 6):
                await proof.reaches(kill * 100 - proof.chance.randrange(80))
                await proof.kill_anything()
        await proof.holds()


@for_workers
async def test_told_to_end_again_and_again_it_repeats_nothing(tmp_path: Path, workers: int) -> None:
    async with trial(tmp_path, 11, workers) as proof:
        proof.sink.plan = Mixed(proof.chance, 20, FAULTS)
        async with proof.sending(400):
            for enough in (50, 150, 250):
                await proof.reaches(enough)
                began = time.monotonic()
                assert await proof.proxy.end() == 0
                assert time.monotonic() - began < 5
                await proof.proxy.start()
        await proof.holds()


@for_one
async def test_stopped_and_continued_it_goes_on(tmp_path: Path, workers: int) -> None:
    async with trial(tmp_path, 12, workers) as proof:
        proof.sink.plan = Mixed(proof.chance, 20, FAULTS)
        async with proof.sending(300):
            for enough in (50, 150):
                await proof.reaches(enough)
                await proof.stand_still(0.5)
        await proof.holds()


@for_one
async def test_a_kochava_that_is_gone_for_a_while(tmp_path: Path, workers: int) -> None:
    async with trial(tmp_path, 13, workers) as proof:
        async with proof.sending(400):
            await proof.reaches(100)
            await proof.sink.down()
            await proof.reaches(300)  # it takes more meanwhile
            await asyncio.sleep(1.0)  # longer than the first retries
            await proof.kill()
            await proof.sink.up()
        await proof.holds()


@for_one
async def test_a_clock_that_jumps_by_hours(tmp_path: Path, workers: int) -> None:
    clock = tmp_path / "clock"
    async with trial(tmp_path, 14, workers, faults={"clock": clock}) as proof:
        proof.sink.plan = Mixed(proof.chance, 20, FAULTS)
        async with proof.sending(300):
            for enough, hours in ((50, 5), (120, -5), (190, -7)):
                await proof.reaches(enough)
                clock.write_text(str(hours * 3_600))
        await proof.holds()


async def test_a_name_that_is_not_resolved_for_a_while(tmp_path: Path) -> None:
    unknown = tmp_path / "unknown"
    unknown.touch()
    async with trial(tmp_path, 15, host="localhost", faults={"names": unknown}) as proof:
        async with proof.sending(200):
            await proof.reaches(150)
            assert not proof.sink.requests
            unknown.unlink()
        await proof.holds()
