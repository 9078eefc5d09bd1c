from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from proxy.deliver.transport import Reply
from proxy.errors import TransportError
from proxy.kochava import SegmentTrack
from proxy.states import Deliver, Fail, Filter, Hold, Outgoing, Planned
from tests.deliver.fakes import GOOD, ScriptedTransport, bad, bench, planned, tally, until

HOUR = 3_600.0
REFUSAL = bad(200, b'{"success":"0","error":"no such app"}')


@pytest.fixture
def kochava() -> ScriptedTransport:
    return ScriptedTransport()


async def test_a_delivered_event_is_counted_told_and_gone(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with bench(tmp_path, kochava) as b:
        await b.add("a")
        await until(lambda: b.watcher.settled_as == {"a": "delivered"})
        assert (b.counts().delivered, b.counts().pending) == (1, 0)
        assert b.watcher.attempts == [("a", "delivered", 1)]


async def test_a_failed_event_waits_longer_each_time_and_is_told_each_time(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["a"] = [bad(503), TransportError("timeout"), bad(200, b"<html>")]
    async with bench(tmp_path, kochava, retry_base_seconds=2.0) as b:
        await b.add("a")
        for attempt in (1, 2, 3):
            assert await b.parks("a", attempt) == 2.0
            await b.clock.advance(1.99)
            assert len(kochava.sent) == attempt
            await b.clock.advance(0.01)
        await until(lambda: b.counts().delivered == 1)
    assert b.watcher.attempts == [
        ("a", "retry", 1), ("a", "retry", 2), ("a", "retry", 3), ("a", "delivered", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "waited"), [("40", 40.0), ("1", 2.0), ("Thu, 01 Jan 2026 00:05:00 GMT", 300.0)]
)
async def test_retry_after_is_the_lower_bound_of_the_wait(
    tmp_path: Path, kochava: ScriptedTransport, asked: str, waited: float
) -> None:
    kochava.answers["a"] = [bad(429, Retry_After=asked)]
    async with bench(tmp_path, kochava, retry_base_seconds=2.0) as b:
        await b.add("a")
        await until(lambda: b.parked() == {"a": (waited, 1)})


async def test_past_the_horizon_an_event_dies_with_its_last_request_and_answer(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["a"] = [bad(500, b"first"), bad(502, b"second"), bad(503, b"third")]
    async with bench(tmp_path, kochava, retry_horizon_hours=1, retry_max_seconds=10 * HOUR) as b:
        await b.add("a")
        await b.parks("a", 1)
        await b.clock.advance(0.9 * HOUR)
        await b.parks("a", 2)
        await b.clock.advance(0.1 * HOUR)
        await until(lambda: b.counts().dead == 1)
        [letter] = b.letters()
        assert (letter.reason, letter.attempts) == ("retries_exhausted:status_503", 3)
        assert msgspec.json.decode(letter.response)["body"] == "third"
        request = msgspec.json.decode(letter.request)
        assert request["body"] == planned("device-of-a", "a").outgoing.body.decode()
        await until(lambda: b.watcher.settled_as == {"a": "dead"})  # told once it is on the disk


async def test_a_refused_event_dies_at_once_with_the_answer(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["a"] = [REFUSAL]
    async with bench(tmp_path, kochava) as b:
        await b.add("a", "b")
        await until(lambda: b.counts().delivered == 1 and b.counts().dead == 1)
        [letter] = b.letters()
        assert (letter.message_id, letter.reason, letter.attempts) == ("a", "success_not_1", 1)
        assert "no such app" in msgspec.json.decode(letter.response)["body"]


async def test_a_misconfigured_app_keeps_its_events_and_no_attempt_is_counted(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["a"] = [bad(401)] * 40
    async with bench(tmp_path, kochava, retry_max_seconds=HOUR, retry_horizon_hours=24) as b:
        await b.add("a")
        for tries in range(1, 41):
            await b.rests()
            assert len(kochava.sent) == tries
            assert b.parked()["a"][1] == 0
            await b.clock.advance(HOUR)
        await until(lambda: b.counts().delivered == 1)


async def test_time_spent_misconfigured_is_not_held_against_an_event(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["a"] = [bad(503), bad(401), bad(429)]
    async with bench(tmp_path, kochava, retry_max_seconds=30 * HOUR, retry_horizon_hours=24) as b:
        await b.add("a")
        await until(lambda: b.parked() == {"a": (1.0, 1)})
        await b.clock.advance(1.0)
        await b.rests()
        await b.clock.advance(30 * HOUR)
        await until(lambda: b.counts().dead == 1 or b.parked() == {"a": (1.0, 2)})
        assert b.counts().dead == 0


async def test_only_what_was_not_delivered_of_an_event_is_sent_again(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["second"] = [bad(503), bad(503)]
    async with bench(tmp_path, kochava) as b:
        names = ("first", "second", "third")
        b.decisions["a"] = Deliver(tuple(planned("d", name) for name in names))
        await b.add("a")
        for failures in (1, 2):
            await b.parks("a", failures)
            await b.clock.advance(10)
        await until(lambda: b.counts().delivered == 1)
    assert kochava.sent == ["first", "second", "second", "second", "third"]


async def test_a_request_that_a_mapping_wants_twice_is_sent_twice(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["same"] = [GOOD, bad(503)]
    async with bench(tmp_path, kochava) as b:
        b.decisions["a"] = Deliver((planned("d", "same"), planned("d", "same")))
        await b.add("a")
        await b.parks("a", 1)
        await b.clock.advance(1)
        await until(lambda: b.counts().delivered == 1)
    assert kochava.sent == ["same", "same", "same"]


async def test_a_refusal_of_one_request_does_not_stop_those_after_it(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["first"] = [REFUSAL]
    async with bench(tmp_path, kochava) as b:
        b.decisions["a"] = Deliver((planned("d", "first"), planned("e", "second")))
        await b.add("a")
        await until(lambda: b.counts().dead == 1)
        [letter] = b.letters()
        assert "first" in msgspec.json.decode(letter.request)["body"]
    assert kochava.sent == ["first", "second"]


async def test_a_mapping_error_buries_its_own_event_and_no_other(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with bench(tmp_path, kochava) as b:
        b.decisions["bad"] = Fail("plugin_error:vip.py", "Traceback: boom")
        b.decisions["dull"] = Filter("unmapped")
        await b.add("a", "bad", "dull", "b")
        await until(lambda: b.counts().pending == 0)
        counts = b.counts()
        assert (counts.delivered, counts.dead, counts.filtered) == (2, 1, {"unmapped": 1})
        [letter] = b.letters()
        assert (letter.message_id, letter.reason) == ("bad", "plugin_error:vip.py")
        assert (letter.detail, letter.attempts) == ("Traceback: boom", 0)
        assert msgspec.json.decode(letter.request) is None
    assert sorted(kochava.sent) == ["a", "b"]


async def test_a_held_event_is_looked_at_again_later(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with bench(tmp_path, kochava, retry_max_seconds=60) as b:
        b.decisions["a"] = Hold("source_not_in_config")
        await b.add("a")
        await until(lambda: b.parked() == {"a": (60.0, 0)})
        del b.decisions["a"]
        await b.clock.advance(60)
        await until(lambda: b.counts().delivered == 1)


async def test_an_event_that_waits_for_something_known_is_looked_at_when_it_says(
    tmp_path: Path, kochava: ScriptedTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, kochava, retry_max_seconds=60) as b:
        b.decisions["a"] = Hold("device_not_seen_yet", 3.0)
        await b.add("a")
        await until(lambda: b.parked() == {"a": (3.0, 0)})
        del b.decisions["a"]
        await b.clock.advance(3)
        await until(lambda: b.counts().delivered == 1)
    assert "event_held" not in capsys.readouterr().out  # nobody's fault


async def test_what_one_sources_segment_refuses_holds_back_no_other(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with bench(tmp_path, kochava, retry_max_seconds=60) as b:
        for id_ in ("a", "b", "c"):
            track = SegmentTrack(event=id_, message_id=id_, user_id="u", properties={})
            body = msgspec.json.encode({"data": {"event_name": id_}})
            outgoing = Outgoing("POST", "http://segment/", {}, body)
            b.decisions[id_] = Deliver((Planned(track, outgoing),))
        kochava.answers["a"] = [Reply(401, {}, b"")]
        kochava.answers["b"] = [Reply(200, {}, b'{"success": true}')]
        await b.add("a", source="acme")
        await until(lambda: [each.paused for each in b.forwarder.states()] == ["status_401"])
        await b.add("c", source="acme")
        await b.add("b", source="other")
        await until(lambda: {state.app for state in b.forwarder.states() if state.delivered}
                    == {"segment:other"})  # fmt: skip
        assert kochava.sent == ["a", "b"]


async def test_a_fault_nobody_thought_of_strands_no_event(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    kochava.answers["a"] = [RuntimeError("a fault of ours")]
    async with bench(tmp_path, kochava) as b:
        await b.add("a", "b")
        await until(lambda: b.parked() == {"a": (1.0, 1)})
        await b.clock.advance(1)
        await until(lambda: b.counts().delivered == 2)


async def test_no_more_are_in_flight_than_allowed_and_all_get_through(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    ids, may_end = [f"e{number}" for number in range(60)], asyncio.Event()
    kochava.answers = {id_: [may_end] for id_ in ids}
    async with bench(tmp_path, kochava, max_concurrency=7) as b:
        await b.add(*ids)
        await until(lambda: len(kochava.sent) == 7)
        for _ in range(50):  # were more allowed, they would be sent now
            await asyncio.sleep(0)
        may_end.set()
        await until(lambda: b.counts().delivered == 60)
    assert kochava.most_at_once == 7
    assert tally(kochava.sent) == dict.fromkeys(ids, 1)


async def test_events_of_a_device_go_one_after_the_other_while_others_overtake(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    first_may_end = asyncio.Event()
    answers: list[Reply | Exception | asyncio.Event] = [first_may_end]
    kochava.answers["install"] = answers
    async with bench(tmp_path, kochava) as b:
        b.decisions["install"] = Deliver((planned("phone", "install"),))
        b.decisions["event"] = Deliver((planned("phone", "event"),))
        await b.add("install", "event", "other")
        await until(lambda: b.counts().delivered == 1)
        assert kochava.sent == ["install", "other"]
        first_may_end.set()
        await until(lambda: b.counts().delivered == 3)
    assert kochava.sent == ["install", "other", "event"]


async def test_sources_that_share_an_app_go_by_turns(
    tmp_path: Path, kochava: ScriptedTransport
) -> None:
    async with bench(tmp_path, kochava, max_concurrency=4) as b:
        await asyncio.gather(
            b.add(*(f"a{number}" for number in range(200))),
            b.add(*(f"z{number}" for number in range(200)), source="zoo"),
        )
        await until(lambda: len(kochava.sent) >= 100)
        first = [name[0] for name in kochava.sent[:100]]
        assert min(first.count("a"), first.count("z")) >= 40
