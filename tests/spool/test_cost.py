"""What a call costs must not grow with what the file holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import apsw
import pytest

from proxy.database import Database
from proxy.spool import rows
from proxy.spool.base import Parked
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Outgoing, Settlement
from tests.spool.conftest import DAY
from tests.spool.helpers import events, ids, lease_now, reads
from tests.support import NOW, FakeClock

REQUEST = Outgoing("POST", "https://kochava.test/", {}, b"{}")


@pytest.fixture
def statements(database: Database) -> Iterator[dict[str, Any]]:
    """Every statement that reaches SQLite, with the values it was last given."""
    seen: dict[str, Any] = {}

    def trace(_cursor: object, statement: str, values: Any) -> bool:
        seen[statement] = values
        return True

    connections = (database._committer.connection, database._reader)
    for connection in connections:
        connection.exec_trace = trace
    yield seen
    for connection in connections:
        connection.exec_trace = None


async def test_no_statement_of_the_flow_scans_a_table(
    spool: SqliteSpool, database: Database, clock: FakeClock, statements: dict[str, Any]
) -> None:
    await spool.append("acme", events("m-1", "m-2", "m-3", "m-3"), {"bad_request": 1})
    first, second, third = lease_now(spool, 3)
    await spool.settle(first, Settlement("dead", "refused", "no", REQUEST))
    await spool.settle(second, Settlement("filtered", "consent"))
    await spool.park(third, Parked(NOW + 1, "ko-ios", 1, NOW))
    lease_now(spool)
    await clock.advance(2 * DAY)
    await spool.append("acme", events("m-1"), {})
    lease_now(spool, 3)
    database._reader.exec_trace = None
    verbs = ("SELECT", "INSERT", "REPLACE", "DELETE", "UPDATE")
    data = [statement for statement in statements if statement.startswith(verbs)]
    assert len(data) >= 12
    plans = {
        f"{step[3]}: {statement}"
        for statement in data
        for step in database.read(f"EXPLAIN QUERY PLAN {statement}", statements[statement] or ())
    }
    scans = [plan for plan in plans if plan.startswith(("SCAN", "USE TEMP"))]
    # Two rows, two a source, the first row of any; what the statement itself brings.
    short = ("dedup_slices", "FROM lanes", "SELECT 1 FROM parked LIMIT 1", "SCAN carray",
             "SELECT 1 FROM events WHERE bulk LIMIT 1")  # fmt: skip
    scans = [plan for plan in scans if not any(each in plan for each in short)]
    assert scans == []


async def test_no_statement_of_the_flow_is_compiled_at_each_call(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    compiled = 0

    def authorize(*_: object) -> int:  # SQLite asks while it compiles
        nonlocal compiled
        compiled += 1
        return apsw.SQLITE_OK

    async def flow(name: str) -> None:
        """A live one waits for a bulk one and for one that is parked."""
        await spool.append("acme", events(f"{name}-1", device=name, bulk=True), {})
        await spool.append("acme", events(f"{name}-2", f"{name}-3", device=name), {})
        (first,) = lease_now(spool)
        await spool.settle(first, Settlement("delivered"))
        (second,) = lease_now(spool)
        await spool.park(second, Parked(clock.now(), "ko-ios", 1, NOW))
        assert ids(lease_now(spool)) == [f"{name}-2"]

    for connection in (database._reader, database._committer.connection):
        connection.authorizer = authorize
    await flow("a")
    await flow("b")  # beside what is parked
    assert compiled
    compiled = 0
    await flow("c")
    assert compiled == 0


async def test_an_append_takes_as_many_statements_in_an_old_window_as_in_a_new_one(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    numbers = []
    for day in range(4):
        await spool.append("acme", events(*(f"{day}-{n}" for n in range(500))), {})
        append = partial(spool.append, "acme", events(f"{day}-x"), {})
        numbers.append(await steps_of_writing(database, append))
        await clock.advance(DAY * 0.7)
    assert max(numbers) < 2 * min(numbers)


async def test_settling_costs_the_same_however_many_wait_behind_on_the_disk(
    database: Database, clock: FakeClock
) -> None:
    spool = SqliteSpool(database, clock, DAY, max_followers=0)
    steps = []
    for device, number in (("a", 3), ("b", 1_000)):
        names = [f"{device}-{n}" for n in range(number)]
        await spool.append("acme", events(*names, device=device), {})
        (first,) = lease_now(spool, number)
        settle = partial(spool.settle, first, Settlement("delivered"))
        steps.append(await steps_of_writing(database, settle))
        assert ids(lease_now(spool, number)) == names[1:2]
    assert steps[1] < 2 * steps[0]


async def steps_of_writing(database: Database, work: Callable[[], Awaitable[object]]) -> int:
    """How many of SQLite's own instructions it takes, in tens."""
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return False

    await database.write(lambda _: database._committer.connection.set_progress_handler(step, 10))
    await work()
    await database.write(lambda _: database._committer.connection.set_progress_handler(None))
    return steps


async def test_after_a_restart_parked_events_are_read_over_once_and_not_at_every_lease(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    await spool.append("acme", events(*(f"m-{n}" for n in range(2_000))), {})
    leases = lease_now(spool, 2_000)
    parked = Parked(NOW + 60, "ko-ios", 1, NOW)
    await asyncio.gather(*(spool.park(leased, parked) for leased in leases))

    restarted = SqliteSpool(database, clock, DAY)
    assert lease_now(restarted) == []
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return False

    database._reader.set_progress_handler(step, 10)
    assert lease_now(restarted) == []
    assert steps < 100  # reading over all took about 2,000
    database._reader.set_progress_handler(None)
    await restarted.append("acme", events("last"), {})
    assert ids(lease_now(restarted)) == ["last"]


async def test_a_lone_live_event_is_leased_by_two_statements_though_there_are_two_lanes(
    spool: SqliteSpool, database: Database
) -> None:
    await spool.append("acme", events("m-1"), {})
    live, bulk = spool.lanes()
    with reads(database) as statements:
        assert ids(spool.lease(live, 20)) == ["m-1"]
        assert spool.lease(bulk, 20) == []
    assert statements == [rows.OVERVIEW, rows.FRESH]


async def test_beside_what_is_parked_one_statement_more_is_for_all_that_are_looked_at(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    await spool.append("acme", events("a-1", "b-1"), {})
    live, _ = spool.lanes()
    for leased in spool.lease(live, 2):
        await spool.park(leased, Parked(clock.now() + 60, "ko-ios"))
    names = [f"{device}-{n}" for n in (2, 3) for device in "abcde"]
    for name in names:
        await spool.append("acme", events(name, device=f"{name[0]}-1"), {})
    with reads(database) as statements:
        assert ids(spool.lease(live, 20)) == ["c-2", "d-2", "e-2"]
    assert statements == [rows.OVERVIEW, rows.FRESH, rows.FIRST_PARKED]


async def test_a_lone_event_is_committed_at_once(spool: SqliteSpool, database: Database) -> None:
    before = database.commits
    await asyncio.wait_for(spool.append("acme", events("m-1"), {}), 5)
    assert database.commits == before + 1


async def test_a_thousand_concurrent_appends_take_few_commits(
    spool: SqliteSpool, database: Database
) -> None:
    before = database.commits
    await asyncio.gather(*(spool.append("acme", events(f"m-{n}"), {}) for n in range(1_000)))
    assert database.commits - before <= 50
    assert database.read("SELECT count(DISTINCT message_id) FROM events") == [(1_000,)]
