from __future__ import annotations

import asyncio
from functools import partial

import apsw
import pytest

from proxy.database import Database
from proxy.spool.dedup import DedupWindow, digest_of
from proxy.spool.sqlite import SqliteSpool
from tests.spool.conftest import DAY
from tests.spool.helpers import counts, events, pending
from tests.support import NOW, FakeClock


@pytest.mark.parametrize(
    ("seconds", "accepted"),
    [(0, 1), (1, 1), (DAY - 1, 1), (DAY, 2), (2 * DAY, 2), (400 * DAY, 2)],
)
async def test_an_id_is_a_duplicate_until_the_window_has_passed(
    spool: SqliteSpool, database: Database, clock: FakeClock, seconds: float, accepted: int
) -> None:
    await spool.append("acme", events("m-1"), {})
    await clock.advance(seconds)
    await spool.append("acme", events("m-1"), {})
    assert len(pending(database)) == accepted
    assert counts(database.path).duplicate == 2 - accepted


async def test_the_window_counts_from_the_first_time_not_from_the_last_duplicate(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    for _ in range(3):
        await spool.append("acme", events("m-1"), {})
        await clock.advance(DAY / 2)
    assert pending(database) == ["m-1", "m-1"]


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.999], ids=lambda phase: f"phase {phase}")
async def test_no_id_is_forgotten_early_however_old_its_slice_is(
    spool: SqliteSpool, database: Database, clock: FakeClock, phase: float
) -> None:
    await spool.append("acme", events("first"), {})
    await clock.advance(phase * DAY)
    await spool.append("acme", events("m-1"), {})
    for _ in range(9):  # a slice ends on the way
        await clock.advance(DAY / 10)
        await spool.append("acme", events("m-1", f"other {clock.now()}"), {})
    assert pending(database).count("m-1") == 1


async def test_two_sources_may_use_the_same_id(spool: SqliteSpool, database: Database) -> None:
    await spool.append("acme", events("m-1"), {})
    await spool.append("zoo", events("m-1", source="zoo"), {})
    assert pending(database) == ["m-1", "m-1"]


async def test_ids_that_repeat_within_one_batch_are_kept_once(
    spool: SqliteSpool, database: Database
) -> None:
    await spool.append("acme", events("m-1", "m-2", "m-1", "m-1"), {})
    assert pending(database) == ["m-1", "m-2"]
    assert counts(database.path).duplicate == 2


async def test_ids_that_repeat_within_one_group_commit_are_kept_once(
    spool: SqliteSpool, database: Database
) -> None:
    await asyncio.gather(*(spool.append("acme", events("m-1"), {}) for _ in range(50)))
    assert pending(database) == ["m-1"]
    assert counts(database.path).duplicate == 49


async def test_a_restart_forgets_no_id(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    await spool.append("acme", events("m-1"), {})
    await SqliteSpool(database, clock, DAY).append("acme", events("m-1"), {})
    assert pending(database) == ["m-1"]


async def test_without_a_window_every_message_is_new_and_no_id_is_kept(
    database: Database, clock: FakeClock
) -> None:
    spool = SqliteSpool(database, clock, 0)
    schema = database.read("PRAGMA schema_version")
    for _ in range(3):
        await spool.append("acme", events("m-1"), {})
        await clock.advance(1)
    assert pending(database) == ["m-1"] * 3
    assert kept(database) == 0
    assert database.read("PRAGMA schema_version") == schema  # no slice was made for nothing


def kept(database: Database) -> int:
    """How many ids are on the disk."""
    rows = database.read(
        "SELECT (SELECT count(*) FROM dedup_0) + (SELECT count(*) FROM dedup_1)"
        " + (SELECT coalesce(sum(length(digests)), 0) / 16 FROM dedup_recent)"
    )
    return int(rows[0][0])


async def test_old_ids_go_with_their_slice(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    for day in range(6):
        await spool.append("acme", events(*(f"{day}-{n}" for n in range(20))), {})
        await clock.advance(DAY + 1)
    assert kept(database) == 40  # of today and of yesterday


@pytest.mark.parametrize("step", [1.0, 0.0, -3_600.0], ids=["goes on", "stands still", "goes back"])
async def test_a_slice_that_holds_too_many_ids_gives_way_whatever_the_clock_does(
    database: Database, step: float
) -> None:
    window = DedupWindow(DAY, max_ids=10)
    now = NOW

    def duplicates(cursor: apsw.Cursor, first: int) -> int:
        digests = [digest_of("acme", str(first + n)) for n in range(5)]
        return window.fresh(cursor, digests, now).count(False)

    for first in range(0, 40, 5):
        assert await database.write(partial(duplicates, first=first)) == 0
        now += step
        assert kept(database) <= 20
    assert await database.write(partial(duplicates, first=35)) == 5
