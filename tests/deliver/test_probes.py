"""An app whose settings are refused gets one probe now and then, whichever worker sends it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.deliver.transport import Reply
from proxy.errors import TransportError
from proxy.states import Deliver
from tests.deliver.fakes import (
    GOOD,
    Bench,
    ScriptedTransport,
    bad,
    bench,
    benches,
    planned,
    until,
)

WAIT = 300.0  # retry_max_seconds
WORKERS = 3
IDS = [f"e{number}" for number in range(30)]


@pytest.fixture
def kochava() -> ScriptedTransport:
    """Refuses everything at first."""
    made = ScriptedTransport()
    made.answers = {id_: [bad(401)] * 1_000 for id_ in IDS}
    return made


def mend(kochava: ScriptedTransport) -> None:
    kochava.answers.clear()


async def rest(workers: list[Bench]) -> None:
    """Waits until nothing is under way in any of them; each may wake another."""
    for _ in range(3):
        for each in workers:
            await each.rests()


def paused(workers: list[Bench]) -> list[str | None]:
    return [
        state.paused
        for each in workers
        for state in each.forwarder.states()
        if state.app == "koacme-ios"
    ]


async def test_what_one_worker_found_out_holds_for_all(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with benches(tmp_path, WORKERS, kochava) as workers:
        await workers[0].add("e0")
        await rest(workers)
        assert kochava.sent == ["e0"]
        assert paused(workers) == ["status_401"] * WORKERS
        await workers[0].add(*IDS[1:])
        await rest(workers)
        assert kochava.sent == ["e0"]


async def test_of_all_workers_one_sends_the_probe_each_time_it_is_due(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with benches(tmp_path, WORKERS, kochava) as workers:
        await workers[0].add("e0")
        await rest(workers)
        await workers[0].add(*IDS[1:])
        for probes in range(1, 8):
            await workers[0].clock.advance(WAIT - 1)
            await rest(workers)
            assert len(kochava.sent) == probes
            await workers[0].clock.advance(1)
            await rest(workers)
            assert len(kochava.sent) == probes + 1
        assert workers[0].counts().pending == len(IDS)


async def test_once_a_probe_is_delivered_all_workers_go_on(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with benches(tmp_path, WORKERS, kochava) as workers:
        await workers[0].add("e0")
        await rest(workers)
        await workers[0].add(*IDS[1:])
        mend(kochava)
        await workers[0].clock.advance(WAIT)
        with capture_logs() as logs:
            await until(lambda: workers[0].counts().delivered == len(IDS))
        assert [line["event"] for line in logs].count("app_resumed") == 1
        await rest(workers)
        assert paused(workers) == [None] * WORKERS


async def test_the_worker_that_has_an_event_sends_the_probe(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    """The one that found out may have gone, or may have nothing left for the app."""
    async with benches(tmp_path, WORKERS, kochava) as workers:
        workers[0].spool.pauses.pause("koacme-ios", "status_401", workers[0].clock.now() + WAIT)
        await rest(workers)
        for id_ in IDS[:6]:  # of one worker or another
            await workers[0].add(id_)
            await rest(workers)
            assert kochava.sent == []
        mend(kochava)
        await workers[0].clock.advance(WAIT)
        await until(lambda: workers[0].counts().delivered == 6)


@pytest.mark.parametrize("answer", [bad(503), bad(429), TransportError("timeout")])
async def test_a_probe_that_is_to_be_tried_again_ends_no_pause(
    tmp_path: Path, kochava: ScriptedTransport, answer: Reply | TransportError
) -> None:
    kochava.answers["e0"] = [bad(401), answer, GOOD]
    async with bench(tmp_path, kochava) as b:
        await b.add("e0")
        await b.rests()
        await b.clock.advance(WAIT)
        await b.parks("e0", 1)
        await b.clock.advance(WAIT - 1)
        await b.rests()
        assert kochava.sent == ["e0"] * 2
        assert paused([b]) == ["status_401"]
        await b.clock.advance(1)
        await until(lambda: b.counts().delivered == 1)
        await b.rests()
        assert paused([b]) == [None]


async def test_a_refusal_of_the_probe_itself_ends_the_pause(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    """The app takes requests again, if not this one."""
    kochava.answers["e0"] = [bad(403), bad(400)]
    async with bench(tmp_path, kochava) as b:
        await b.add("e0")
        await b.rests()
        assert paused([b]) == ["status_403"]
        await b.clock.advance(WAIT)
        await until(lambda: b.counts().dead == 1)
        await b.rests()
        assert paused([b]) == [None]


async def test_the_answer_to_what_was_sent_before_the_pause_does_not_end_it(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    may_end = asyncio.Event()
    kochava.answers |= {"before": [may_end], "later": []}
    async with bench(tmp_path, kochava) as b:
        await b.add("before", "e0")
        await until(lambda: paused([b]) == ["status_401"])
        may_end.set()
        await until(lambda: b.counts().delivered == 1)
        await b.add("later")
        await b.rests()
        assert kochava.sent == ["before", "e0"]
        assert paused([b]) == ["status_401"]


async def test_the_next_request_of_an_event_waits_with_all_others_of_its_app(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    may_end = asyncio.Event()
    kochava.answers["first"] = [may_end]
    async with bench(tmp_path, kochava) as b:
        b.decisions["a"] = Deliver((planned("phone", "first"), planned("phone", "second")))
        await b.add("a", "e0")
        await until(lambda: paused([b]) == ["status_401"])
        may_end.set()
        await b.rests()
        assert sorted(kochava.sent) == ["e0", "first"]
        mend(kochava)
        await b.clock.advance(WAIT)
        await until(lambda: b.counts().delivered == 2)
    assert sorted(kochava.sent[2:]) == ["e0", "second"]


async def test_a_restart_tries_at_once_whether_the_settings_were_mended(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with benches(tmp_path, WORKERS, kochava) as workers:
        await workers[0].add("e0")
        await rest(workers)
        await workers[0].add(*IDS[1:])
        await rest(workers)
    for _ in range(2):
        before = len(kochava.sent)
        async with benches(tmp_path, WORKERS, kochava) as workers:
            await rest(workers)
            assert len(kochava.sent) == before + 1
            assert paused(workers) == ["status_401"] * WORKERS
    mend(kochava)
    async with benches(tmp_path, WORKERS, kochava) as workers:
        await until(lambda: workers[0].counts().delivered == len(IDS))


async def test_a_clock_that_was_set_back_keeps_no_probe_waiting(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["e0"] = [bad(401)]
    async with bench(tmp_path, kochava) as b:
        await b.add("e0")
        await b.rests()
        b.clock.set_back(86_400)
        b.spool.look()
        await b.clock.advance(WAIT)
        await until(lambda: b.counts().delivered == 1)
