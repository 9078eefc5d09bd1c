"""Pauses of apps are the same for every process on the file, and at the next start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.database import Database
from proxy.spool import schema
from proxy.spool.base import Parked, Part, Pause
from proxy.spool.sqlite import SqliteSpool
from tests.spool.conftest import DAY
from tests.spool.helpers import events, lease_now
from tests.support import NOW, FakeClock

WAIT = 300.0
REFUSED = Pause("status_401", NOW + WAIT)

Start = Callable[[int], SqliteSpool]


@pytest.fixture
async def start(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Start]:
    """Starts worker 0 or 1, each with a database of its own, as processes have. Pauses wake."""
    databases: list[Database] = []
    spools: dict[int, SqliteSpool] = {}

    def heard(worker: int) -> None:
        if worker in spools:
            spools[worker].heard()

    def start_(worker: int) -> SqliteSpool:
        lock = (tmp_path / f"lock-{len(databases)}").open("w")
        databases.append(Database(tmp_path / "spool.db", (schema.SCHEMA,), lock=lock))
        spools[worker] = SqliteSpool(databases[-1], clock, DAY, part=Part(worker, 2), wake=heard)
        return spools[worker]

    yield start_
    for database in databases:
        await database.close()


async def landed(*spools: SqliteSpool) -> None:
    """What they wrote is on the disk, and who is to know knows."""
    for spool in spools:
        await spool._database.write(lambda _: None)
        await asyncio.sleep(0)


def all_of(*spools: SqliteSpool) -> list[dict[str, Pause]]:
    return [dict(spool.pauses.all()) for spool in spools]


async def park_for(spool: SqliteSpool, app: str) -> None:
    """Something that a probe can be made of."""
    await spool.append("acme", events("parked", device="d-0"), {})
    [leased] = lease_now(spool)
    await spool.park(leased, Parked(NOW, app))


async def test_a_pause_holds_here_at_once_and_is_news_for_the_others(start: Start) -> None:
    one, other = start(0), start(1)
    news: list[str] = []
    other.on_news(lambda: news.append("other"))
    one.pauses.pause("ko", "status_401", NOW + WAIT)
    assert all_of(one, other) == [{"ko": REFUSED}, {}]
    await landed(one)
    assert all_of(one, other) == [{"ko": REFUSED}] * 2
    assert news
    other.pauses.resume("ko")
    assert all_of(one, other) == [{"ko": REFUSED}, {}]
    await landed(other)
    assert all_of(one, other) == [{}, {}]


async def test_who_is_not_woken_finds_out_when_it_looks(
    database: Database, spool: SqliteSpool, clock: FakeClock
) -> None:
    other = SqliteSpool(database, clock, DAY)
    news: list[str] = []
    spool.on_news(lambda: news.append("news"))
    other.pauses.pause("ko", "status_401", NOW + WAIT)
    await landed(other)
    spool.look()
    spool.look()
    assert all_of(spool) == [{"ko": REFUSED}]
    assert len(news) == 1


async def test_a_look_while_a_pause_is_being_written_does_not_forget_it(
    spool: SqliteSpool,
) -> None:
    spool.pauses.pause("ko", "status_401", NOW + WAIT)
    spool.look()
    assert all_of(spool) == [{"ko": REFUSED}]


async def test_of_all_who_claim_a_probe_that_is_due_one_gets_it(
    start: Start, clock: FakeClock
) -> None:
    one, other = start(0), start(1)
    one.pauses.pause("ko", "status_401", NOW + WAIT)
    await landed(one)

    async def claims() -> list[bool]:
        at = clock.now() + WAIT
        spools = [one, other] * 5
        return await asyncio.gather(*(each.pauses.claim_probe("ko", at) for each in spools))

    assert sum(await claims()) == 0
    for _ in range(5):
        await clock.advance(WAIT)
        assert sum(await claims()) == 1
    await landed(one, other)
    one.look()
    assert all_of(one, other) == [{"ko": Pause("status_401", clock.now() + WAIT)}] * 2
    one.pauses.resume("ko")
    await landed(one)
    await clock.advance(WAIT)
    assert sum(await claims()) == 0


async def test_of_two_who_find_out_at_the_same_time_the_first_says_when_the_probe_is(
    start: Start,
) -> None:
    one, other = start(0), start(1)
    one.pauses.pause("ko", "status_401", NOW + WAIT)
    other.pauses.pause("ko", "status_403", NOW + 2 * WAIT)
    await landed(one, other, one)
    assert all_of(one) == all_of(other)
    assert one.pauses.all()["ko"].probe_at in (NOW + WAIT, NOW + 2 * WAIT)
    before = one.pauses.all()["ko"].probe_at
    one.pauses.pause("ko", "status_404", NOW + 3 * WAIT)
    await landed(one)
    assert all_of(one, other) == [{"ko": Pause("status_404", before)}] * 2


async def test_a_probe_that_a_clock_set_back_has_put_off_can_be_claimed_at_once(
    spool: SqliteSpool, clock: FakeClock
) -> None:
    spool.pauses.pause("ko", "status_401", NOW + WAIT)
    await landed(spool)
    clock.set_back(DAY)
    assert await spool.pauses.claim_probe("ko", clock.now() + WAIT)
    assert not await spool.pauses.claim_probe("ko", clock.now() + WAIT)


async def test_a_restart_makes_probes_due_but_not_that_of_one_worker_among_others(
    start: Start, clock: FakeClock
) -> None:
    one = start(0)
    await park_for(start(1), "ko")
    one.pauses.pause("ko", "status_401", NOW + WAIT)
    await landed(one)
    await clock.advance(10)
    again = start(1)
    await landed(again)
    assert all_of(again) == [{"ko": REFUSED}]
    again = start(0)
    assert all_of(again) == [{"ko": REFUSED}]
    await landed(again)
    assert all_of(again) == [{"ko": Pause("status_401", NOW + 10)}]


async def test_a_pause_is_kept_while_something_is_parked_for_the_app_and_no_longer(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    """Else an app id that was mistyped would be paused for good after it was mended."""
    await park_for(spool, "kept")
    for app in ("kept", "mistyped"):
        spool.pauses.pause(app, "status_404", NOW + WAIT)
    await landed(spool)
    await clock.advance(WAIT - 1)
    spool.look()
    await landed(spool)
    assert set(spool.pauses.all()) == {"kept", "mistyped"}
    await clock.advance(1)
    spool.look()
    await landed(spool)
    assert set(spool.pauses.all()) == {"kept"}
    assert database.read("SELECT app FROM app_pauses") == [("kept",)]


async def test_a_file_that_knows_no_pauses_gets_a_place_for_them(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "spool.db"
    old = Database(path, (schema.SCHEMA, "DROP TABLE app_pauses;"))
    await old.close()
    new = Database(path, (schema.SCHEMA,))
    assert all_of(SqliteSpool(new, clock, DAY)) == [{}]
    await new.close()
