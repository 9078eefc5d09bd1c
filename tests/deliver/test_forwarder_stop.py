"""Stopping: what is in flight may end, what does not stays pending, and nothing new begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.deliver.transport import Answer
from proxy.states import Deliver, Outgoing
from tests.deliver.fakes import GOOD, ScriptedTransport, bench, planned, until


async def test_what_ends_within_the_grace_is_settled(tmp_path: Path) -> None:
    kochava, may_end = ScriptedTransport(), asyncio.Event()
    kochava.answers["a"] = [may_end]
    async with bench(tmp_path, kochava) as b:
        await b.add("a")
        await until(lambda: kochava.sent == ["a"])
        stopping = asyncio.create_task(b.forwarder.stop(10))
        await asyncio.sleep(0)
        may_end.set()
        await stopping
        assert (b.counts().delivered, b.counts().pending) == (1, 0)


async def test_what_does_not_end_in_time_is_kept_and_sent_at_the_next_start(
    tmp_path: Path,
) -> None:
    kochava = ScriptedTransport()
    kochava.answers["a"] = [asyncio.Event()]
    async with bench(tmp_path, kochava) as b:
        b.decisions["a"] = Deliver((planned("phone", "a"),))
        b.decisions["b"] = Deliver((planned("phone", "b"),))
        await b.add("a", "b")
        await until(lambda: kochava.sent == ["a"])
        began = time.monotonic()
        await b.forwarder.stop(0.05)
        assert time.monotonic() - began < 2
        assert b.counts().pending == 2
    assert kochava.sent == ["a"]
    async with bench(tmp_path, kochava) as b:
        await until(lambda: b.counts().delivered == 2)
    assert kochava.sent == ["a", "a", "b"]


@pytest.mark.parametrize("turns", range(30))
async def test_whenever_it_comes_all_that_was_sent_is_settled_and_nothing_begins_after_it(
    tmp_path: Path, turns: int
) -> None:
    kochava = ScriptedTransport()
    async with bench(tmp_path, kochava, max_concurrency=2) as b:
        adding = asyncio.create_task(b.add("a", "b", "c"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await adding
        for _ in range(turns):
            await asyncio.sleep(0)
        await b.forwarder.stop(10)
        sent = len(kochava.sent)
        assert b.counts().delivered == sent
        assert b.counts().pending == 3 - sent
        for _ in range(30):
            await asyncio.sleep(0)
        assert len(kochava.sent) == sent


async def test_an_idle_forwarder_stops_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, ScriptedTransport()) as b:
        await b.forwarder.stop(10)
        async with asyncio.timeout(2):
            await b.running


class Echo:
    """A transport that answers after it was given up: both fell into one turn of the loop."""

    def __init__(self) -> None:
        self.begun = 0

    def begin(self, outgoing: Outgoing, answered: Callable[[Answer], None]) -> Callable[[], object]:
        self.begun += 1
        return lambda: asyncio.get_running_loop().call_soon(answered, GOOD)

    async def close(self) -> None:
        """Nothing to close."""


async def test_an_answer_that_comes_with_the_giving_up_changes_nothing(tmp_path: Path) -> None:
    echo = Echo()
    async with bench(tmp_path, echo) as b:
        await b.add("a")
        await until(lambda: echo.begun == 1)
        await b.forwarder.stop(0.05)
        for _ in range(3):
            await asyncio.sleep(0)
        assert [state.in_flight for state in b.forwarder.states()] == [0]
        assert (b.counts().delivered, b.counts().pending) == (0, 1)
