from __future__ import annotations

import asyncio
import uuid

import pytest

from proxy.database import Database
from proxy.errors import StorageError
from proxy.spool.base import Leased, Parked
from proxy.spool.letters import read_letter, read_letters
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Outgoing, Settlement
from tests.spool.conftest import DAY, OpenDatabase
from tests.spool.helpers import counts, events, ids, lease_now, pending
from tests.support import NOW, FakeClock


async def test_bytes_and_facts_come_back_as_they_went_in(
    spool: SqliteSpool, database: Database
) -> None:
    event = events("m-1")[0]
    raw = '{ "a" :1e400,\n"b":"\\u0000é"}'.encode() + b"\xff\x00"
    strange = type(event)("acme", "a\0b'\"%", "track", NOW + 0.123456, b'{"ip":"::1"}', raw)
    await spool.append("acme", [strange], {})
    assert [leased.event for leased in await lease_now(spool)] == [strange]


async def test_a_lease_waits_for_an_event_and_is_woken_by_it(spool: SqliteSpool) -> None:
    leasing = asyncio.ensure_future(spool.lease(10))
    await asyncio.sleep(0)
    assert not leasing.done()
    await spool.append("acme", events("m-1"), {})
    assert ids(await asyncio.wait_for(leasing, 5)) == ["m-1"]


async def test_a_lease_wakes_when_what_is_parked_becomes_due(
    spool: SqliteSpool, clock: FakeClock
) -> None:
    await spool.append("acme", events("m-1"), {})
    (leased,) = await spool.lease(10)
    await spool.park(Parked(leased.id, NOW + 60, 1, NOW, frozenset()))
    leasing = asyncio.ensure_future(spool.lease(10))
    await asyncio.sleep(0)
    await clock.advance(59)
    assert not leasing.done()
    await clock.advance(1)
    assert ids(await asyncio.wait_for(leasing, 5)) == ["m-1"]


async def test_an_append_whose_caller_has_gone_is_whole_and_is_delivered(
    spool: SqliteSpool, database: Database
) -> None:
    leasing = asyncio.ensure_future(spool.lease(10))
    appending = asyncio.ensure_future(spool.append("acme", events("m-1", "m-2"), {"bad": 1}))
    await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    assert ids(await asyncio.wait_for(leasing, 5)) == ["m-1", "m-2"]
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
    first, second = await spool.lease(2)
    await spool.settle(second, Settlement("delivered"))
    restarted = SqliteSpool(database, clock, DAY)
    assert ids(await lease_now(restarted)) == ["m-1", "m-3"]
    assert first.attempts == 0


async def test_what_earlier_attempts_left_behind_survives_a_restart(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    await spool.append("acme", events("m-1"), {})
    (leased,) = await spool.lease(1)
    done = frozenset({b"\0" * 8, b"12345678", b"\xff" * 8})
    await spool.park(Parked(leased.id, NOW + 1, 7, NOW - 5, done))
    await clock.advance(1)
    (again,) = await lease_now(SqliteSpool(database, clock, DAY))
    assert again == Leased(leased.id, leased.event, 7, NOW - 5, done)


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
        (letter,) = read_letters(database._reader, None, None, 10)
        expected = text.encode("utf-8", "backslashreplace").decode()
        assert (letter.reason, letter.detail) == (expected, expected)

    async def test_letters_are_read_newest_first_by_source_and_reason(
        self, spool: SqliteSpool, database: Database
    ) -> None:
        for reason in ("a", "b", "a"):
            await self.bury(spool, reason)
        await self.bury(spool, "a", source="zoo")
        reader = database._reader
        assert [letter.id for letter in read_letters(reader, None, None, 3)] == [4, 3, 2]
        assert [letter.id for letter in read_letters(reader, "acme", "a", 10)] == [3, 1]
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
        for leased in await spool.lease(1):
            await spool.settle(leased, Settlement("dead", reason, detail, request))


async def test_a_filter_reason_that_is_no_text_is_counted_all_the_same(
    spool: SqliteSpool, database: Database
) -> None:
    await spool.append("acme", events("m-1"), {})
    (leased,) = await spool.lease(1)
    await spool.settle(leased, Settlement("filtered", "\ud800"))
    assert counts(database.path).filtered == {"\\ud800": 1}


async def test_a_foreign_row_is_leased_and_can_be_buried_like_any_other(
    spool: SqliteSpool, database: Database
) -> None:
    await database.write(
        lambda cursor: cursor.execute(
            "INSERT INTO events (source, message_id, type, received_at, done, facts, raw)"
            " VALUES ('gone', 'x', 'what', 0, 'odd', 'not JSON', 'text')"
        )
    )
    await spool.append("acme", events("m-1"), {})
    foreign, ours = await lease_now(spool)
    await spool.settle(foreign, Settlement("dead", "undecodable"))
    await spool.settle(ours, Settlement("delivered"))
    (letter,) = read_letters(database._reader, None, None, 10)
    assert (letter.source, letter.reason) == ("gone", "undecodable")
    assert counts(database.path).delivered == 1
