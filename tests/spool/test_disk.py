"""Disks that fill up, fail, or lie."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from proxy.database import Database
from proxy.errors import StorageBroken, StorageFull
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.spool.conftest import DAY, OpenDatabase
from tests.spool.helpers import counts, events, ids, lease_now, pending, wal_size
from tests.support import FakeClock


class Disk(apsw.VFS):
    """The real one, with faults: an operation and how a file's name ends, to what it raises."""

    def __init__(self) -> None:
        self.faults: dict[tuple[str, str], type[apsw.Error]] = {}
        self.is_full: Callable[[], bool] = lambda: False
        super().__init__("faulty", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite's name
        return File(self, name, flags)

    def check(self, operation: str, name: str) -> None:
        for (faulty, end), error in self.faults.items():
            if faulty == operation and name.endswith(end):
                raise error(f"{operation} of {end}")


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self.disk = disk
        self.name = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802  SQLite's name
        self.disk.check("sync", self.name)
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  SQLite's name
        self.disk.check("write", self.name)
        if offset + len(data) > self.xFileSize():
            self.disk.check("grow", self.name)
            if self.disk.is_full():
                raise apsw.FullError("no space left on device")
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802  SQLite's name
        self.disk.check("read", self.name)
        return super().xRead(amount, offset)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr("proxy.database.RETRY_SECONDS", 0.01)
    disk = Disk()
    yield disk
    disk.unregister()


@pytest.fixture
async def database(
    disk: Disk, open_database: OpenDatabase, tmp_path: Path
) -> AsyncIterator[Database]:
    database = open_database(tmp_path / "spool.db")
    yield database
    disk.faults.clear()


class TestFailure:
    @pytest.mark.parametrize(
        ("operation", "error"), [("sync", apsw.IOError), ("write", apsw.IOError)]
    )
    async def test_a_commit_that_fails_ends_the_use_of_the_file(
        self,
        spool: SqliteSpool,
        database: Database,
        disk: Disk,
        alarms: list[StorageBroken],
        operation: str,
        error: type[apsw.Error],
    ) -> None:
        await spool.append("acme", events("m-1"), {})
        disk.faults[operation, "-wal"] = error
        appends = [spool.append("acme", events(f"x-{n}"), {}) for n in range(3)]
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(result) for result in results] == [StorageBroken] * 3
        disk.faults.clear()  # a second try would pass, and prove nothing
        with pytest.raises(StorageBroken):
            await spool.append("acme", events("m-2"), {})
        await asyncio.sleep(0)
        assert len(alarms) == 1
        assert str(database.path) in str(alarms[0])

    async def test_a_checkpoint_that_fails_ends_the_use_of_the_file_and_keeps_the_wal(
        self,
        open_database: OpenDatabase,
        alarms: list[StorageBroken],
        clock: FakeClock,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """SQLite itself hides what goes wrong in its automatic checkpoints. The file cannot grow
        here because of a limit of the system, which no Python code stands in for.
        """
        monkeypatch.setattr("proxy.committer.CHECKPOINT_PAGES", 40)
        database = open_database(tmp_path / "spool.db")
        spool = SqliteSpool(database, clock, DAY)
        await spool.append("acme", events("big", size=500_000), {})  # checkpointed at once
        taken = ["big"]
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, before[1]))
        try:
            for number in range(1_000):
                await spool.append("acme", events(f"m-{number}", size=4_000), {})
                taken.append(f"m-{number}")
                if alarms:
                    break
            else:
                pytest.fail("nobody was told")
        except StorageBroken:
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await database.close()
        assert len(alarms) == 1
        assert wal_size(database.path) > 0
        assert pending(open_database(database.path)) == taken

    async def test_a_file_that_cannot_be_read_is_broken_for_the_forwarder_too(
        self, spool: SqliteSpool, disk: Disk
    ) -> None:
        await spool.append("acme", events("m-1"), {})
        disk.faults["read", ""] = apsw.IOError
        with pytest.raises(StorageBroken):
            lease_now(spool, 1)


class TestFull:
    async def test_a_full_disk_refuses_appends_and_keeps_nothing_of_them(
        self, spool: SqliteSpool, database: Database, disk: Disk, alarms: list[StorageBroken]
    ) -> None:
        disk.faults["write", "-wal"] = apsw.FullError
        with pytest.raises(StorageFull):
            await spool.append("acme", events("m-1"), {"bad_request": 1})
        disk.faults.clear()
        await spool.append("acme", events("m-1"), {})  # the client tries again: no duplicate
        assert pending(database) == ["m-1"]
        found = counts(database.path)
        assert (found.received, found.duplicate, found.rejected) == (1, 0, {})
        assert alarms == []

    async def test_results_wait_for_room_while_appends_are_refused(
        self, spool: SqliteSpool, database: Database, disk: Disk, clock: FakeClock
    ) -> None:
        await spool.append("acme", events("m-1", "m-2"), {})
        first, second = lease_now(spool, 2)
        disk.faults["write", "-wal"] = apsw.FullError
        results = [
            asyncio.ensure_future(spool.settle(first, Settlement("delivered"))),
            asyncio.ensure_future(spool.settle(second, Settlement("dead", "refused"))),
        ]
        for _ in range(5):
            with pytest.raises(StorageFull):
                await spool.append("acme", events("m-3"), {})
        assert not any(result.done() for result in results)
        disk.faults.clear()
        await asyncio.wait_for(asyncio.gather(*results), 5)
        found = counts(database.path)
        assert (found.pending, found.delivered, found.dead) == (0, 1, 1)
        assert lease_now(SqliteSpool(database, clock, DAY)) == []

    async def test_results_are_recorded_where_the_files_have_room_left(
        self,
        spool: SqliteSpool,
        database: Database,
        disk: Disk,
        open_database: OpenDatabase,
        clock: FakeClock,
    ) -> None:
        await spool.append("acme", events(*(f"m-{n}" for n in range(50)), size=5_000), {})
        await database.close()  # now all is in the file, and the WAL is empty
        database = open_database(database.path)
        again = SqliteSpool(database, clock, DAY)
        for number, leased in enumerate(lease_now(again, 50)):
            if number == 10:  # the WAL has some length by now
                disk.faults["grow", ""] = apsw.FullError
            await asyncio.wait_for(again.settle(leased, Settlement("delivered")), 5)
        assert counts(database.path).delivered == 50

    async def test_a_shutdown_on_a_full_disk_ends_and_leaves_the_event_pending(
        self,
        spool: SqliteSpool,
        database: Database,
        disk: Disk,
        open_database: OpenDatabase,
        clock: FakeClock,
    ) -> None:
        await spool.append("acme", events("m-1"), {})
        (leased,) = lease_now(spool, 1)
        disk.faults["write", "-wal"] = apsw.FullError
        result = asyncio.ensure_future(spool.settle(leased, Settlement("delivered")))
        await asyncio.sleep(0)
        await asyncio.wait_for(database.close(), 10)
        with pytest.raises(StorageFull):
            await result
        disk.faults.clear()
        again = SqliteSpool(open_database(database.path), clock, DAY)
        assert ids(lease_now(again)) == ["m-1"]

    async def test_a_full_file_still_takes_results_and_these_make_room(
        self, spool: SqliteSpool, database: Database
    ) -> None:
        await database.write(lambda cursor: cursor.connection.pragma("max_page_count", 200))
        taken = 0
        while True:
            try:
                await spool.append("acme", events(f"m-{taken}", size=20_000), {})
            except StorageFull:
                break
            taken += 1
        assert taken == len(pending(database)) > 10
        for leased in lease_now(spool, taken):
            await asyncio.wait_for(spool.settle(leased, Settlement("dead", "refused")), 5)
        assert counts(database.path).dead == taken
