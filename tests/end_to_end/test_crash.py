"""Whatever ends the process, no acknowledged message is lost, and little is sent twice."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.load import Load, sending
from tests.end_to_end.processes import Sink, running, serving, write_config

IN_FLIGHT = 20


@pytest.mark.parametrize("seed", [1])
async def test_killed_under_load_it_repeats_only_what_was_in_flight(
    tmp_path: Path, seed: int
) -> None:
    load, kills = Load(600, seed), 2
    sink = Sink()
    sink.answer, sink.latency = load.answer(fail_rate=0.2), 0.002
    async with serving(sink) as kochava, running(write_config(tmp_path, kochava.url)) as proxy:
        async with sending(load, proxy) as clients:
            for kill in range(1, kills + 1):
                await load.reaches(kill * 200 + load.chance.randrange(-80, 80), clients)
                assert await proxy.end(signal.SIGKILL) == -signal.SIGKILL
                await proxy.start()
        await load.check(proxy, kochava)
        repeated = kochava.successes().total() - len(kochava.successes())
        assert repeated <= kills * IN_FLIGHT
        assert await proxy.end() == 0


async def test_stopped_under_load_it_ends_soon_and_repeats_nothing(tmp_path: Path) -> None:
    load = Load(600, seed=4)
    sink = Sink()
    sink.answer, sink.latency = load.answer(fail_rate=0.1), 0.02
    async with serving(sink) as kochava, running(write_config(tmp_path, kochava.url)) as proxy:
        async with sending(load, proxy) as clients:
            for enough in (100, 300, 500):
                await load.reaches(enough, clients)
                began = time.monotonic()
                assert await proxy.end(signal.SIGTERM) == 0
                assert time.monotonic() - began < 5
                await proxy.start()
        await load.check(proxy, kochava)
        assert set(kochava.successes().values()) == {1}
        assert await proxy.end(signal.SIGINT) == 0
