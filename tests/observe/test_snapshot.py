"""What is read for a scrape: true, and cheap however much is pending."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec
import pytest

from proxy.appstate import AppState, WorkerState
from proxy.connections import SCHEMA_VERSION
from proxy.database import Database
from proxy.errors import StorageError
from proxy.observe import snapshot
from proxy.observe.snapshot import COUNT_SECONDS, SnapshotReader, read_workers
from proxy.spool.letters import Which, purge_letters, replay_letters
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.spool.helpers import copy_as_killed, events, lease_now
from tests.support import NOW, FakeClock

EVENTS = 2_000


class Monotonic:
    """The time that a reader sees pass; `per_look` passes whenever it looks."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.per_look = 0.0

    def __call__(self) -> float:
        self.now += self.per_look
        return self.now


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def reader(database: Database, monotonic: Monotonic) -> SnapshotReader:
    return SnapshotReader(database.path, ["acme", "idle"], monotonic)


async def delete_one(database: Database) -> None:
    await database.write(
        lambda cursor: list(
            cursor.execute("DELETE FROM events WHERE id = (SELECT min(id) FROM events)")
        )
    )


async def test_before_there_is_a_file_all_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "data" / "spool.db"
    found = SnapshotReader(path, ["acme"]).read(NOW)
    assert set(found.messages.values()) == {0}
    assert (found.pending, found.oldest) == ({"acme": 0}, {"acme": 0.0})
    assert (found.balanced, found.bytes, found.workers) == (True, 0, [])
    assert read_workers(path, NOW) == []
    assert not path.parent.exists()


async def test_pending_is_what_came_to_no_end(reader: SnapshotReader, spool: SqliteSpool) -> None:
    await spool.append("acme", events("a", "b", "c", "d", "a"), {"no_user_anon_id": 2})
    fates = [("delivered", ""), ("filtered", "consent"), ("dead", "status_400")]
    for leased, (state, reason) in zip(lease_now(spool, 3), fates, strict=True):
        await spool.settle(leased, Settlement(state, reason))  # type: ignore[arg-type]  # no Literal
    found = reader.read(NOW)
    assert (found.pending, found.balanced) == ({"acme": 1, "idle": 0}, True)
    assert {line[1:]: number for line, number in found.messages.items() if line[0] == "acme"} == {
        ("received", ""): 7, ("rejected", "no_user_anon_id"): 2, ("duplicate", ""): 1,
        ("filtered", "consent"): 1, ("delivered", ""): 1, ("dead", ""): 1,
        ("replayed", ""): 0,
    }  # fmt: skip


@pytest.mark.parametrize("bulk_first", [True, False], ids=["bulk first", "live first"])
async def test_the_oldest_is_that_of_live_and_bulk_together(
    reader: SnapshotReader, spool: SqliteSpool, bulk_first: bool
) -> None:
    early, late = events("early", bulk=bulk_first), events("late", bulk=not bulk_first)
    await spool.append("acme", [msgspec.structs.replace(early[0], received_at=NOW - 50)], {})
    await spool.append("acme", late, {})
    assert reader.read(NOW + 7).oldest == {"acme": 57.0, "idle": 0.0}


async def test_what_is_replayed_or_purged_is_no_letter_and_no_counter_goes_down(
    spool: SqliteSpool, database: Database, reader: SnapshotReader, monotonic: Monotonic
) -> None:
    def numbers() -> tuple[int, int, int, int]:
        """Dead, replayed, letters, pending."""
        monotonic.now += COUNT_SECONDS
        found = reader.read(NOW)
        assert found.balanced
        dead, replayed = (found.messages["acme", each, ""] for each in ("dead", "replayed"))
        return dead, replayed, found.letters["acme"], found.pending["acme"]

    async def die() -> None:
        while found := lease_now(spool, 1):
            await spool.settle(found[0], Settlement("dead", "refused"))

    await spool.append("acme", events("a", "b", "c"), {})
    await die()
    assert numbers() == (3, 0, 3, 0)
    await database.write(lambda cursor: replay_letters(cursor, Which(), 3, limit=2))
    assert numbers() == (3, 2, 1, 2)
    spool.look()
    await die()
    assert numbers() == (5, 2, 3, 0)
    await database.write(lambda cursor: purge_letters(cursor, Which(), 99, limit=99))
    assert numbers() == (5, 2, 0, 0)


async def test_a_file_in_which_nobody_counted_replays_can_be_read_and_replayed(
    spool: SqliteSpool, database: Database, reader: SnapshotReader
) -> None:
    await spool.append("acme", events("a"), {})
    await spool.settle(lease_now(spool)[0], Settlement("dead", "refused"))
    await database.write(lambda cursor: list(cursor.execute("DROP TABLE replayed")))
    assert reader.read(NOW).messages["acme", "dead", ""] == 1
    await database.write(lambda cursor: replay_letters(cursor, Which(), 1, limit=1))
    assert reader.read(NOW).messages["acme", "dead", ""] == 1


@pytest.mark.parametrize(
    "query", [snapshot._OLDEST, snapshot._COUNT, snapshot._COUNT_DEAD, snapshot._LEDGER]
)
async def test_no_scrape_reads_the_messages(
    spool: SqliteSpool, database: Database, query: str
) -> None:
    """Only through an index, that is: the messages themselves may be gigabytes."""
    await spool.append("acme", events("a"), {})
    plan = [row[-1] for row in database.read(f"EXPLAIN QUERY PLAN {query}")]
    assert not [step for step in plan if step.startswith("SCAN events")]
    if query in (snapshot._COUNT, snapshot._COUNT_DEAD):
        assert any("COVERING INDEX" in step for step in plan)


async def test_a_scrape_costs_the_same_however_much_is_pending(
    reader: SnapshotReader, spool: SqliteSpool, monotonic: Monotonic
) -> None:
    def steps(work: Callable[[], object]) -> int:
        """Of SQLite's machine, in tens."""
        done = 0

        def count() -> bool:
            nonlocal done
            done += 1
            return False

        def hook(connection: apsw.Connection) -> None:
            connection.set_progress_handler(count, 10)

        apsw.connection_hooks.append(hook)
        try:
            work()
        finally:
            apsw.connection_hooks.remove(hook)
        return done

    await spool.append("acme", events("a"), {})
    reader.read(NOW)
    few = steps(lambda: reader.read(NOW))
    await spool.append("acme", events(*(f"m-{number}" for number in range(EVENTS))), {})
    assert steps(lambda: reader.read(NOW)) <= few + 10
    monotonic.now += COUNT_SECONDS
    assert steps(lambda: reader.read(NOW)) > few + EVENTS / 10  # the count is seen


async def test_an_event_that_vanished_is_seen_at_the_next_count(
    reader: SnapshotReader, spool: SqliteSpool, database: Database, monotonic: Monotonic
) -> None:
    await spool.append("acme", events("a", "b"), {})
    assert reader.read(NOW).balanced
    await delete_one(database)
    monotonic.now += COUNT_SECONDS - 1
    assert reader.read(NOW).balanced
    monotonic.now += 1
    assert not reader.read(NOW).balanced


async def test_a_count_that_takes_long_is_made_more_seldom(
    reader: SnapshotReader, spool: SqliteSpool, database: Database, monotonic: Monotonic
) -> None:
    await spool.append("acme", events("a"), {})
    monotonic.per_look = 10  # one at the beginning of the count, one at its end
    assert reader.read(NOW).balanced
    monotonic.per_look = 0
    await delete_one(database)
    monotonic.now += 999
    assert reader.read(NOW).balanced
    monotonic.now += 1
    assert not reader.read(NOW).balanced


async def test_the_room_that_was_freed_is_not_counted(
    reader: SnapshotReader, spool: SqliteSpool, database: Database
) -> None:
    await spool.append("acme", events(*(f"m-{number}" for number in range(50)), size=10_000), {})
    full = reader.read(NOW).bytes
    assert full > 500_000
    assert full == spool.usage().bytes
    await database.write(lambda cursor: list(cursor.execute("DELETE FROM events")))
    assert reader.read(NOW).bytes < 200_000


async def test_workers_are_those_that_publish(reader: SnapshotReader, database: Database) -> None:
    state = WorkerState(0, os.getpid(), NOW, NOW, [AppState("koacme")])
    row = (0, state.pid, state.at, msgspec.json.encode(state))
    await database.write(
        lambda cursor: list(cursor.execute("INSERT INTO worker_states VALUES (?, ?, ?, ?)", row))
    )
    assert reader.read(NOW).workers == [state] == read_workers(database.path, NOW)


async def test_reading_leaves_the_wal_of_a_crash_to_those_who_write(
    spool: SqliteSpool, database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    """After a failed sync its content is not known to be what was acknowledged."""
    await spool.append("acme", events("a"), {})
    copy = tmp_path / "copy.db"
    copy_as_killed(database.path, copy)
    wal = copy.with_name(copy.name + "-wal")
    before = wal.read_bytes()
    assert SnapshotReader(copy, ["acme"]).read(NOW).pending == {"acme": 1}
    assert wal.read_bytes() == before


@pytest.mark.parametrize("fault", ["newer", "no database"])
async def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "spool.db"
    if fault == "newer":
        connection = apsw.Connection(str(path))
        connection.pragma("user_version", SCHEMA_VERSION + 1)
        connection.close()
    else:
        path.write_bytes(b"no database at all" * 100)
    for read in (SnapshotReader(path, []).read, lambda now: read_workers(path, now)):
        with pytest.raises(StorageError, match=f"^{path}: .*(newer|not a database)"):
            read(NOW)
