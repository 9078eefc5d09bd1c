from __future__ import annotations

import asyncio
import uuid

import pytest

from proxy.database import Database
from proxy.errors import StorageError
from proxy.spool import rows
from proxy.spool.base import Leased, Parked, Refusal
from proxy.spool.letters import Which, read_letter, read_letters
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Outcome, Outgoing, Settlement
from tests.spool.conftest import DAY, OpenDatabase
from tests.spool.helpers import counts, events, ids, lease_now, pending, reads
from tests.support import NOW, FakeClock

REQUEST = Outgoing("POST", "https://kochava.test/", {}, b"{}")


async def test_bytes_and_facts_come_back_as_they_went_in(
    spool: SqliteSpool, database: Database
) -> None:
    event = events("m-1")[0]
    raw = '{ "a" :1e400,\n"b":"\\u0000é"}'.encode() + b"\xff\x00"
    strange = type(event)("acme", "a\0b'\"%", "track", NOW + 0.123456, b'{"ip":"::1"}', raw)
    await spool.append("acme", [strange], {})
    assert [leased.event for leased in lease_now(spool)] == [strange]


async def test_whoever_leases_is_told_of_every_append(spool: SqliteSpool) -> None:
    told = list[str]()
    spool.on_news(lambda: told.append("news"))
    assert lease_now(spool) == []
    await spool.append("acme", events("m-1"), {})
    assert told
    assert ids(lease_now(spool)) == ["m-1"]


async def test_what_is_parked_is_leased_for_its_app_once_it_is_due(
    spool: SqliteSpool, clock: FakeClock
) -> None:
    await spool.append("acme", events("m-1", "m-2"), {})
    first, second = lease_now(spool)
    await spool.park(first, Parked(NOW + 60, "ko-ios"))
    await spool.park(second, Parked(NOW + 30, "ko-android"))
    assert (spool.next_due("ko-ios"), spool.next_due("ko-android")) == (NOW + 60, NOW + 30)
    await clock.advance(59)
    assert (spool.lease_parked("ko-ios", 10), lease_now(spool)[0].event) == ([], second.event)
    await clock.advance(1)
    assert ids(spool.lease_parked("ko-ios", 10)) == ["m-1"]
    assert spool.next_due("ko-ios") is None


async def test_a_clock_that_is_set_back_makes_nothing_wait_longer(
    spool: SqliteSpool, clock: FakeClock, database: Database
) -> None:
    await spool.append("acme", events("m-1"), {})
    (leased,) = lease_now(spool)
    await spool.park(leased, Parked(NOW + 60, "ko-ios"))
    clock.set_back(7_200)
    spool.look()
    await database.write(lambda _: None)  # behind it
    await clock.advance(59)
    assert lease_now(spool) == []
    await clock.advance(1)
    assert ids(lease_now(spool)) == ["m-1"]


async def test_an_event_that_is_being_parked_is_not_leased_meanwhile(
    spool: SqliteSpool, database: Database
) -> None:
    await spool.append("acme", events("m-1"), {})
    (leased,) = lease_now(spool)
    parking = asyncio.ensure_future(spool.park(leased, Parked(NOW, "ko-ios")))
    for _ in range(2):  # it begins with all else that this turn of the loop writes
        await asyncio.sleep(0)
    while not database.read("SELECT 1 FROM parked"):
        pass  # it is on the disk, and nobody knows yet
    assert lease_now(spool) == []
    await parking
    assert ids(lease_now(spool)) == ["m-1"]


async def test_a_parked_bulk_event_is_met_once_after_a_restart(
    database: Database, clock: FakeClock
) -> None:
    spool = SqliteSpool(database, clock, DAY)
    await spool.append("acme", events("bulk", device="d", bulk=True), {})
    (leased,) = lease_now(spool)
    await spool.append("acme", events("live", device="d"), {})
    await spool.park(leased, Parked(NOW, "ko-ios"))
    again = SqliteSpool(database, clock, DAY)
    for expected in ("bulk", "live"):
        (leased,) = lease_now(again)
        assert leased.event.message_id == expected
        assert lease_now(again) == []
        await again.settle(leased, Settlement("delivered"))


async def test_an_append_whose_caller_has_gone_is_whole_and_is_delivered(
    spool: SqliteSpool, database: Database
) -> None:
    appending = asyncio.ensure_future(spool.append("acme", events("m-1", "m-2"), {"bad": 1}))
    await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    await database.write(lambda _: None)  # behind it
    assert ids(lease_now(spool)) == ["m-1", "m-2"]
    found = counts(database.path)
    assert (found.received, found.pending, found.rejected) == (3, 2, {"bad": 1})


async def test_what_was_promised_is_written_before_the_file_is_closed(
    open_database: OpenDatabase, spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    appends = [
        asyncio.ensure_future(spool.append("acme", events(f"m-{n}"), {})) for n in range(3_000)
    ]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*appends)
    again = open_database(database.path)
    assert pending(again) == [f"m-{n}" for n in range(3_000)]


async def test_after_the_close_nothing_is_taken_and_nobody_waits_for_ever(
    spool: SqliteSpool, database: Database
) -> None:
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await asyncio.wait_for(spool.append("acme", events("m-1"), {}), 5)


async def test_what_was_in_flight_at_a_restart_is_leased_again_in_its_place(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    await spool.append("acme", events("m-1", "m-2", "m-3"), {})
    first, second = lease_now(spool, 2)
    await spool.settle(second, Settlement("delivered"))
    restarted = SqliteSpool(database, clock, DAY)
    assert ids(lease_now(restarted)) == ["m-1", "m-3"]
    assert first.attempts == 0


async def test_what_earlier_attempts_left_behind_survives_a_restart(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    await spool.append("acme", events("m-1"), {})
    (leased,) = lease_now(spool, 1)
    refusal = Refusal(REQUEST, Outcome("refused", "success_not_1", 200, "no"))
    done = frozenset({b"\0" * 8, b"12345678", b"\xff" * 8})
    await spool.park(leased, Parked(NOW + 1, "ko-ios", 7, NOW - 5, done, refusal))
    await clock.advance(1)
    (again,) = lease_now(SqliteSpool(database, clock, DAY))
    assert again == Leased(leased.id, leased.event, leased.lane, 7, NOW - 5, done, refusal)


class TestDeadLetters:
    async def test_a_letter_never_holds_what_authenticates(
        self, spool: SqliteSpool, database: Database
    ) -> None:
        headers = {
            "Kochava-Api-Key": "k3y",
            "kochava-auth-token": "t0ken",
            "AUTHORIZATION": "Bearer b3arer",
            "Content-Type": "application/json",
        }
        await self.bury(spool, "refused", "", Outgoing("POST", "https://k.test/", headers, b"{}"))
        (stored,) = database.read("SELECT request FROM dead")[0]
        assert not [word for word in (b"k3y", b"t0ken", b"b3arer") if word in stored]
        assert b"application/json" in stored

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\0", "é" * 100_000])
    async def test_whatever_a_plugin_says_can_be_kept(
        self, spool: SqliteSpool, database: Database, text: str
    ) -> None:
        await self.bury(spool, text, text)
        (letter,) = read_letters(database._reader, Which(), 10)
        expected = text.encode("utf-8", "backslashreplace").decode()
        assert (letter.reason, letter.detail) == (expected, expected)

    async def test_letters_are_read_newest_first_by_source_and_reason(
        self, spool: SqliteSpool, database: Database
    ) -> None:
        for reason in ("a", "b", "a"):
            await self.bury(spool, reason)
        await self.bury(spool, "a", source="zoo")
        reader = database._reader
        assert [letter.id for letter in read_letters(reader, Which(), 3)] == [4, 3, 2]
        assert [letter.id for letter in read_letters(reader, Which("acme", "a"), 10)] == [3, 1]
        found = read_letter(reader, 4)
        assert found is not None
        assert found.source == "zoo"
        assert read_letter(reader, 5) is None

    async def bury(
        self,
        spool: SqliteSpool,
        reason: str,
        detail: str = "",
        request: Outgoing | None = None,
        source: str = "acme",
    ) -> None:
        await spool.append(source, events(str(uuid.uuid4()), source=source), {})
        for leased in lease_now(spool, 1):
            await spool.settle(leased, Settlement("dead", reason, detail, request))


async def test_a_filter_reason_that_is_no_text_is_counted_all_the_same(
    spool: SqliteSpool, database: Database
) -> None:
    await spool.append("acme", events("m-1"), {})
    (leased,) = lease_now(spool, 1)
    await spool.settle(leased, Settlement("filtered", "\ud800"))
    assert counts(database.path).filtered == {"\\ud800": 1}


async def test_a_foreign_row_is_leased_and_can_be_buried_like_any_other(
    spool: SqliteSpool, database: Database
) -> None:
    await spool.append("acme", events("m-1"), {})
    await database.write(
        lambda cursor: cursor.execute(
            "INSERT INTO events"
            " (lane, bulk, device, source, message_id, type, received_at, facts, raw)"
            " SELECT lane, 0, 7, 'gone', 'x', 'what', 0, 'not JSON', 'text' FROM events LIMIT 1"
        )
    )
    ours, foreign = lease_now(spool)
    await spool.settle(foreign, Settlement("dead", "undecodable"))
    await spool.settle(ours, Settlement("delivered"))
    (letter,) = read_letters(database._reader, Which(), 10)
    assert (letter.source, letter.reason) == ("gone", "undecodable")
    assert counts(database.path).delivered == 1


async def test_what_is_met_while_the_one_before_it_is_being_settled_has_its_turn(
    database: Database, clock: FakeClock
) -> None:
    spool = SqliteSpool(database, clock, DAY, max_followers=0)
    await spool.append("acme", events("m-1", "m-2", "m-3", device="d"), {})
    for expected in ("m-1", "m-2", "m-3"):
        (leased,) = lease_now(spool, 1)
        assert leased.event.message_id == expected
        settled = spool.settle(leased, Settlement("delivered"))
        assert lease_now(spool, 1) == []  # the next is seen, too early
        await settled
    assert counts(database.path).delivered == 3


async def test_an_end_that_nobody_waits_for_is_written_with_what_comes_next(
    spool: SqliteSpool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.database.LINGER_SECONDS", 3_600)
    await spool.append("acme", events("m-1"), {})
    (leased,) = lease_now(spool)
    ended = spool.settle(leased, Settlement("delivered"))
    before = database.commits
    await spool.append("acme", events("m-2"), {})
    async with asyncio.timeout(5):
        await ended
    assert database.commits == before + 1
    assert pending(database) == ["m-2"]


@pytest.mark.parametrize("parked", [False, True], ids=["in memory", "on the disk"])
async def test_an_end_that_another_event_of_the_device_waits_for_is_written_at_once(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, parked: bool
) -> None:
    monkeypatch.setattr("proxy.database.LINGER_SECONDS", 3_600)
    spool = SqliteSpool(database, clock, DAY, max_followers=0 if parked else 10)
    await spool.append("acme", events("m-1", "m-2", "m-3", device="phone"), {})
    for expected in ("m-1", "m-2", "m-3"):
        (leased,) = lease_now(spool)
        assert leased.event.message_id == expected
        ended = spool.settle(leased, Settlement("delivered"))
        if expected != "m-3":
            async with asyncio.timeout(5):
                await ended


async def test_what_was_read_beyond_what_was_asked_for_is_leased_next(
    spool: SqliteSpool, database: Database
) -> None:
    await spool.append("acme", events("a-1", "a-2", device="a"), {})
    await spool.append("acme", events("b", "c", "d"), {})
    live, _ = spool.lanes()
    # Two are read at a time; of the first two one has to wait.
    first, _ = leased = spool.lease(live, 2)
    assert ids(leased) == ["a-1", "b"]
    with reads(database) as statements:
        assert ids(spool.lease(live, 1)) == ["c"]
    assert statements == []
    await spool.settle(first, Settlement("delivered"))
    assert ids(spool.lease(live, 3)) == ["a-2", "d"]


async def test_events_whose_turn_has_come_are_leased_by_one_query_in_the_order_of_their_turns(
    spool: SqliteSpool, database: Database
) -> None:
    names = [f"{place}-{device}" for place in range(2) for device in "abcde"]
    for name in names:
        await spool.append("acme", events(name, device=name[-1]), {})
    first = {leased.event.message_id[-1]: leased for leased in lease_now(spool)}
    for device in "cabed":
        await spool.settle(first[device], Settlement("delivered"))
    await database.write(
        lambda cursor: cursor.execute("DELETE FROM events WHERE message_id = '1-b'")
    )
    (live, _) = spool.lanes()
    with reads(database) as statements:
        assert ids(spool.lease(live, 2)) == ["1-c", "1-a"]
    assert statements == [rows.THESE]
    assert ids(spool.lease(live, 2)) == ["1-e", "1-d"]  # passing over the one that is gone
