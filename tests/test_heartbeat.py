"""A worker that hangs is told from one that is busy, and from a supervisor that was not there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from proxy.heartbeat import BEAT_SECONDS, Silence, beat, falls_silent, open_heartbeat
from tests.support import FakeClock


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = open_heartbeat()
    yield ends
    for end in ends:
        with suppress(OSError):  # a test has closed it
            os.close(end)


async def look(clock: FakeClock, times: int) -> None:
    """Whoever listens looks so many times."""
    for _ in range(times):
        for _ in range(10):
            await asyncio.sleep(0)
        await clock.advance(BEAT_SECONDS)
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_silence_of_so_many_seconds_is_noticed(
    pipe: tuple[int, int], clock: FakeClock
) -> None:
    silent = asyncio.create_task(falls_silent(pipe[0], 5, clock, asyncio.Event()))
    for _ in range(10):
        os.write(pipe[1], b"\0")
        await look(clock, 4)
    assert not silent.done()
    await look(clock, 2)
    assert silent.done()
    assert await silent


async def test_who_is_told_to_stop_listening_notices_nothing(
    pipe: tuple[int, int], clock: FakeClock
) -> None:
    stop = asyncio.Event()
    silent = asyncio.create_task(falls_silent(pipe[0], 5, clock, stop))
    await look(clock, 4)
    stop.set()
    assert not await silent


async def test_time_in_which_nobody_listened_is_no_silence() -> None:
    silence, now = Silence(0.0), 0.0
    for _ in range(10):
        now += 3_600
        assert silence.after_look(now, heard=False) < 10 * 2 * BEAT_SECONDS + 1
        assert silence.after_look(now, heard=True) == 0


async def test_one_late_look_counts_as_little_as_two_in_time() -> None:
    silence = Silence(0.0)
    assert silence.after_look(3_600.0, heard=False) == 2 * BEAT_SECONDS


async def test_an_event_loop_that_runs_is_heard(pipe: tuple[int, int]) -> None:
    heard = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe[0], heard.set)
    beating = asyncio.create_task(beat(pipe[1]))
    async with asyncio.timeout(5):
        await heard.wait()
    asyncio.get_running_loop().remove_reader(pipe[0])
    assert os.read(pipe[0], 10) == b"\0"
    beating.cancel()


@pytest.mark.parametrize("reader", ["slow", "gone"])
async def test_it_goes_on_whoever_listens(pipe: tuple[int, int], reader: str) -> None:
    if reader == "gone":
        os.close(pipe[0])
    else:
        with suppress(BlockingIOError):
            while True:
                os.write(pipe[1], bytes(4_096))
    beating = asyncio.create_task(beat(pipe[1]))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not beating.done()
    beating.cancel()
