"""Ids wait in memory and in a log until they are moved: none is lost on the way, and none is
believed in that was rolled back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from proxy.connections import SCHEMA_VERSION
from proxy.database import Database
from proxy.errors import StorageFull
from proxy.spool import dedup, recent, schema
from proxy.spool.dedup import DedupWindow, digest_of
from proxy.spool.sqlite import SqliteSpool
from tests.spool.conftest import DAY, OpenDatabase
from tests.spool.helpers import counts, events, pending
from tests.support import NOW, FakeClock

MOST = 20

Window = partial(DedupWindow, DAY, max_recent=MOST)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    connection = connect(tmp_path)
    connection.execute(dedup.SCHEMA)
    yield connection
    connection.close()


def connect(folder: Path) -> apsw.Connection:
    connection = apsw.Connection(str(folder / "ids.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "off")
    connection.pragma("wal_autocheckpoint", 0)
    return connection


def ids(first: int, number: int) -> list[bytes]:
    return [digest_of("acme", str(n)) for n in range(first, first + number)]


def fresh(
    connection: apsw.Connection, window: DedupWindow, digests: Sequence[bytes], now: float = NOW
) -> int:
    """How many are, in a transaction of their own."""
    with connection:
        answers = window.fresh(connection.cursor(), digests, now)
    return answers.count(True)


def number(connection: apsw.Connection, what: str) -> int:
    row: Any = connection.execute(f"SELECT coalesce({what}, 0)").fetchall()[0]
    return int(row[0])


def in_log(connection: apsw.Connection) -> int:
    return number(connection, "(SELECT sum(length(digests)) / 16 FROM dedup_recent)")


def in_index(connection: apsw.Connection) -> int:
    return number(connection, "(SELECT count(*) FROM dedup_0) + (SELECT count(*) FROM dedup_1)")


def in_memory(window: DedupWindow) -> int:
    return sum(map(len, window._recent._buckets))


@pytest.mark.parametrize("at_once", [1, 7, 3 * MOST])
def test_what_there_is_no_room_for_is_moved_and_still_known(
    connection: apsw.Connection, at_once: int
) -> None:
    window = Window()
    for first in range(0, 1_000, at_once):
        assert fresh(connection, window, ids(first, at_once)) == at_once
        assert in_memory(window) <= max(MOST, at_once)
    assert in_index(connection) >= 1_000 - max(MOST, at_once)
    assert in_log(connection) <= 4 * MOST + 2 * at_once
    assert fresh(connection, window, ids(0, 1_000)) == 0
    assert fresh(connection, Window(), ids(0, 1_000)) == 0  # nor after a restart


def test_a_row_goes_once_every_bucket_has_been_moved_past_it(connection: apsw.Connection) -> None:
    window = Window()
    for first in range(400):
        assert fresh(connection, window, ids(first, 1)) == 1
        logged = connection.execute("SELECT digests FROM dedup_recent").fetchall()
        indexed = connection.execute(
            "SELECT digest FROM dedup_0 UNION ALL SELECT digest FROM dedup_1"
        )
        assert {digest for (digest,) in [*logged, *indexed]} == set(ids(0, first + 1))


def test_ids_of_a_transaction_that_was_rolled_back_are_new_again(
    connection: apsw.Connection,
) -> None:
    window = Window()
    assert fresh(connection, window, ids(0, 30)) == 30
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    for first in (30, 40, 50):  # the first two are in memory by the third, and others are moved
        assert all(window.fresh(cursor, ids(first, 10), NOW))
    cursor.execute("ROLLBACK")
    assert fresh(connection, window, ids(0, 60)) == 30
    assert fresh(connection, window, ids(0, 60)) == 0


def test_a_row_of_somebody_else_is_not_taken_for_one_that_was_rolled_back(
    connection: apsw.Connection, tmp_path: Path
) -> None:
    """It has the same number and the same time, and as many ids."""
    mine, others = Window(), Window()
    other_connection = connect(tmp_path)
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    assert all(mine.fresh(cursor, ids(0, 5), NOW))
    assert mine.fresh(cursor, ids(0, 5), NOW) == [False] * 5  # it has been read
    cursor.execute("ROLLBACK")
    assert fresh(other_connection, others, ids(5, 5)) == 5
    other_connection.close()
    assert fresh(connection, mine, ids(5, 5)) == 0
    assert fresh(connection, mine, ids(0, 5)) == 5


def test_processes_that_write_by_turns_know_each_others_ids_and_forget_what_was_moved(
    connection: apsw.Connection, tmp_path: Path
) -> None:
    busy, idle = Window(), Window()
    other_connection = connect(tmp_path)
    assert fresh(other_connection, idle, ids(0, MOST)) == MOST
    for first in range(MOST, 1_000, 5):
        assert fresh(connection, busy, ids(first, 5)) == 5
        if first % 100 == 0:  # it follows, and is now and then so late that its last row is gone
            assert fresh(other_connection, idle, ids(first, 1)) == 0
            assert in_memory(idle) <= MOST + 5
    assert fresh(other_connection, idle, ids(0, 1_000)) == 0
    other_connection.close()


def test_a_late_process_reads_only_what_is_there(
    connection: apsw.Connection, tmp_path: Path
) -> None:
    busy, idle = Window(), Window()
    other_connection = connect(tmp_path)
    assert fresh(other_connection, idle, ids(0, 5)) == 5
    for first in range(5, 2_000, 5):
        fresh(connection, busy, ids(first, 5))
    assert number(connection, "(SELECT min(id) FROM dedup_recent)") > 5
    assert fresh(other_connection, idle, ids(1_990, 20)) == 10
    assert in_memory(idle) <= MOST + 5
    other_connection.close()


def test_moves_go_on_where_they_were_after_every_restart(connection: apsw.Connection) -> None:
    for first in range(0, 1_000, 5):
        window = Window()
        assert fresh(connection, window, ids(first, 5)) == 5
        assert in_memory(window) <= MOST
    assert in_log(connection) <= 8 * MOST
    assert fresh(connection, Window(), ids(0, 1_000)) == 0


def test_an_id_that_comes_again_after_the_window_takes_no_second_place(
    connection: apsw.Connection,
) -> None:
    window = Window()
    for day in range(20):
        assert fresh(connection, window, ids(0, MOST // 2), NOW + day * (DAY + 1)) == MOST // 2
    assert in_memory(window) == MOST // 2
    assert in_index(connection) == 0


def test_the_numbers_go_on_though_all_that_was_numbered_is_dropped(
    connection: apsw.Connection,
) -> None:
    """They say how many ids a slice holds."""
    window = DedupWindow(DAY, max_ids=4)
    for _ in range(3):  # more at once than a slice may hold: each time a new one begins
        fresh(connection, window, ids(0, 5))
    fresh(connection, window, ids(5, 5))
    assert number(connection, "(SELECT max(id) FROM dedup_recent)") == 10


def test_ids_share_the_pages_that_they_change(connection: apsw.Connection, tmp_path: Path) -> None:
    """Each by itself would cost a page of 4,096 bytes, as long as the index has as many."""
    window = DedupWindow(DAY, max_recent=5_000)
    for first in range(0, 30_000, 500):
        fresh(connection, window, ids(first, 500))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    for first in range(30_000, 40_000, 100):
        fresh(connection, window, ids(first, 100))
    assert in_index(connection) > 30_000  # on some 300 pages
    assert (tmp_path / "ids.db-wal").stat().st_size / 10_000 < 4_096 / 4


def set_limit(cursor: apsw.Cursor, pages: int) -> None:
    cursor.connection.pragma("max_page_count", pages)


class TestInTheSpool:
    @pytest.fixture(autouse=True)
    def little_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.spool.appending.DedupWindow", partial(DedupWindow, max_recent=8))

    async def test_a_faulty_job_makes_nobody_s_ids_known_and_nobody_s_forgotten(
        self, spool: SqliteSpool, database: Database
    ) -> None:
        def faulty(_cursor: apsw.Cursor) -> None:
            raise ValueError("a fault of ours")

        await spool.append("acme", events(*(f"old-{n}" for n in range(20))), {})
        for round_ in range(10):
            names = [f"{round_}-{n}" for n in range(4)]
            # Two parts of one transaction, as a job is between them; then each by itself.
            first = asyncio.ensure_future(spool.append("acme", events(*names[:2]), {}))
            await asyncio.sleep(0)
            results = await asyncio.gather(
                first,
                database.write(faulty),
                spool.append("acme", events(*names[2:], *names), {}),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [type(None), ValueError, type(None)]
        everything = pending(database)
        assert len(everything) == len(set(everything)) == 60
        await spool.append("acme", events(*everything), {})
        assert pending(database) == everything
        assert counts(database.path).duplicate == 40 + 60

    async def test_what_a_full_disk_refused_is_new_when_it_comes_again(
        self, spool: SqliteSpool, database: Database
    ) -> None:
        pages = int(database.read("PRAGMA page_count")[0][0])
        taken: list[str] = []
        refused: list[str] = []
        for turn in range(60):
            limit = pages + 40 if turn < 50 else 100_000
            await database.write(partial(set_limit, pages=limit))
            names = [f"{turn}-{n}" for n in range(5)]
            try:
                await spool.append("acme", events(*names, size=1_000), {})
            except StorageFull:
                refused += names
            else:
                taken += names
        assert len(refused) > 100
        assert pending(database) == taken
        await spool.append("acme", events(*taken, *refused), {})
        assert pending(database) == taken + refused

    async def test_ids_of_a_file_of_version_2_are_duplicates_as_before(
        self, tmp_path: Path, clock: FakeClock, open_database: OpenDatabase
    ) -> None:
        path = tmp_path / "old.db"
        old = apsw.Connection(str(path))
        old.execute(schema.SCHEMA.replace(recent.SCHEMA, ""))
        old.execute("INSERT INTO dedup_0 SELECT value, ? FROM carray(?)",
                    (NOW - 9, apsw.carray(tuple(ids(0, 50)))))  # fmt: skip
        old.execute("UPDATE dedup_slices SET began_at = ?, ids = 50", (NOW - 9,))
        old.pragma("user_version", 2)
        assert not old.execute("SELECT 1 FROM sqlite_master WHERE name = 'dedup_recent'").fetchall()
        old.close()
        database = open_database(path)
        assert database.read("PRAGMA user_version") == [(SCHEMA_VERSION,)]
        spool = SqliteSpool(database, clock, DAY)
        names = [str(n) for n in range(100)]
        await spool.append("acme", events(*names), {})
        await spool.append("acme", events(*names), {})
        assert pending(database) == names[50:]
        assert counts(path).duplicate == 150

    async def test_ids_from_before_the_log_count_towards_the_slice(
        self, database: Database
    ) -> None:
        await database.write(
            lambda cursor: cursor.execute("UPDATE dedup_slices SET began_at = ?, ids = 8", (NOW,))
        )
        window = DedupWindow(DAY, max_ids=10)
        for first, current in ((0, 0), (2, 1)):  # the second two are too many
            await database.write(partial(window.fresh, digests=ids(first, 2), now=NOW))
            rows = database.read("SELECT slice, max(began_at) FROM dedup_slices")
            assert rows[0][0] == current
