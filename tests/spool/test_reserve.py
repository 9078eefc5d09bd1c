"""The room that is kept for results, on a disk that is really full where one can be mounted, and
on one that only seems to be.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.connections import open_for_reading
from proxy.database import Database
from proxy.errors import StorageBroken, StorageFull
from proxy.spool import schema
from proxy.spool.base import Leased
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.small_disk import SmallDisk, mounted
from tests.spool.conftest import DAY
from tests.spool.helpers import copy_as_killed, counts, events, ids, lease_now, pending
from tests.spool.test_disk import Disk
from tests.support import FakeClock

MEGABYTE = 1_000_000
RESERVE = 4 * MEGABYTE
PATIENCE = 20.0

DELIVERED = Settlement("delivered")


class Open:
    """Opens databases with a reserve, as several processes do."""

    def __init__(self, path: Path, alarms: list[StorageBroken]) -> None:
        self.path = path
        self._alarms = alarms
        self._opened: list[Database] = []

    @property
    def reserve(self) -> Path:
        return self.path.with_name("spool.db.reserve")

    def __call__(self, reserve: int = RESERVE) -> Database:
        # Of several workers the supervisor has the lock.
        lock = (self.path.parent / f"lock-{len(self._opened)}").open("w")
        database = Database(
            self.path, (schema.SCHEMA,), self._alarms.append, lock, reserve_bytes=reserve
        )
        self._opened.append(database)
        return database

    async def close(self) -> None:
        for database in self._opened:
            await database.close()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.database.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("proxy.reserve.LOOK_SECONDS", 0.01)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "small", 40) as disk:
        yield disk


@pytest.fixture
async def open_(tmp_path: Path, alarms: list[StorageBroken]) -> AsyncIterator[Open]:
    opened = Open(tmp_path / "spool.db", alarms)
    yield opened
    await opened.close()


@pytest.fixture
async def open_small(small: SmallDisk, alarms: list[StorageBroken]) -> AsyncIterator[Open]:
    opened = Open(small.folder / "spool.db", alarms)
    yield opened
    await opened.close()
    assert alarms == []


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()


async def taken(spool: SqliteSpool, number: int, size: int = 0) -> list[Leased]:
    """So many events that were acknowledged and are being delivered."""
    await spool.append("acme", events(*(f"m-{n}" for n in range(number)), size=size), {})
    return lease_now(spool, number)


async def settle(spool: SqliteSpool, leased: list[Leased], settlement: Settlement) -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(spool.settle(each, settlement) for each in leased))


async def refuses(spool: SqliteSpool) -> None:
    for number in range(3):
        with pytest.raises(StorageFull):
            await spool.append("acme", events(f"refused-{number}"), {})


async def takes_again(spool: SqliteSpool, message_id: str) -> None:
    """Returns when it does, without a restart."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StorageFull):
                await spool.append("acme", events(message_id), {})
                return
            await asyncio.sleep(0.01)


def size_of(path: Path) -> int:
    return path.stat().st_size


def is_allocated(path: Path) -> bool:
    found = path.stat()
    return found.st_size == RESERVE and found.st_blocks * 512 >= RESERVE


class TestFullDisk:
    @pytest.mark.parametrize("settlement", [DELIVERED, Settlement("dead", "refused")])
    async def test_results_are_on_the_disk_at_once_and_others_are_refused_until_there_is_room(
        self,
        small: SmallDisk,
        open_small: Open,
        clock: FakeClock,
        tmp_path: Path,
        settlement: Settlement,
    ) -> None:
        database = open_small()
        spool = SqliteSpool(database, clock, DAY)
        leased = await taken(spool, 100, size=10_000)  # in the WAL, for which the file must grow
        small.fill()
        with pytest.raises(StorageFull):
            await spool.append("acme", events("big", size=100_000), {})
        await settle(spool, leased, settlement)
        found = counts(database.path)  # as another program reads it
        assert (found.pending, getattr(found, settlement.state)) == (0, 100)
        assert size_of(open_small.reserve) == 0
        await refuses(spool)

        killed = tmp_path / "killed.db"
        copy_as_killed(database.path, killed)
        again = Database(killed, (schema.SCHEMA,))
        assert pending(again) == []
        await again.close()

        small.clear()
        await takes_again(spool, "after")
        assert is_allocated(open_small.reserve)
        assert counts(database.path).received == 101

    async def test_more_results_than_the_reserve_has_room_for(
        self, small: SmallDisk, open_small: Open, clock: FakeClock
    ) -> None:
        """One by one each takes some pages of the WAL, which begins anew again and again. What
        the first freed the other program takes too.
        """
        spool = SqliteSpool(open_small(MEGABYTE), clock, DAY)
        leased = await taken(spool, 300)
        small.fill()
        await settle(spool, leased[:1], DELIVERED)
        small.fill()
        for each in leased[1:]:
            await settle(spool, [each], DELIVERED)
        assert counts(open_small.path).delivered == 300
        await refuses(spool)

    async def test_a_start_on_a_full_disk_delivers_what_is_there(
        self, small: SmallDisk, open_small: Open, clock: FakeClock
    ) -> None:
        database = open_small()
        await taken(SqliteSpool(database, clock, DAY), 10)
        await database.close()
        small.fill()
        spool = SqliteSpool(open_small(), clock, DAY)
        await refuses(spool)
        await settle(spool, lease_now(spool), DELIVERED)
        assert counts(open_small.path).delivered == 10
        small.clear()
        await takes_again(spool, "after")

    async def test_a_start_after_a_crash_on_a_full_disk_delivers_only_what_is_left(
        self, small: SmallDisk, open_small: Open, clock: FakeClock, tmp_path: Path
    ) -> None:
        database = open_small()
        spool = SqliteSpool(database, clock, DAY)
        leased = await taken(spool, 20)
        small.fill()
        await settle(spool, leased[:10], DELIVERED)
        killed = small.folder / "killed.db"
        copy_as_killed(database.path, killed)
        small.fill()
        small.leave(40_000)  # what the index of the WAL had
        again = Open(killed, [])
        spool = SqliteSpool(again(), clock, DAY)
        await refuses(spool)
        left = lease_now(spool)
        assert ids(left) == [f"m-{number}" for number in range(10, 20)]
        await settle(spool, left, DELIVERED)
        assert counts(killed).delivered == 20
        await again.close()

    async def test_where_there_never_was_room_nothing_is_taken_until_there_is(
        self, small: SmallDisk, open_small: Open, clock: FakeClock
    ) -> None:
        small.fill()
        small.leave(RESERVE * 2 - 100_000)
        spool = SqliteSpool(open_small(), clock, DAY)
        await refuses(spool)
        assert not open_small.reserve.exists()
        small.clear()
        await takes_again(spool, "after")
        assert is_allocated(open_small.reserve)

    async def test_a_file_that_could_not_be_moved_into_uses_the_reserve_early(
        self,
        small: SmallDisk,
        open_small: Open,
        clock: FakeClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Or the WAL, which has some length from earlier, would take in more than the reserve can
        move.
        """
        database = open_small()
        spool = SqliteSpool(database, clock, DAY)
        reader = open_for_reading(database.path)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM events").fetchall()  # keeps the WAL from beginning anew
        leased = await taken(spool, 200, size=10_000)
        await settle(spool, leased, DELIVERED)
        await spool.append("acme", events("a", size=2 * MEGABYTE), {})
        reader.execute("COMMIT")
        reader.close()
        monkeypatch.setattr("proxy.committer.CHECKPOINT_PAGES", 1)
        await spool.append("acme", events("b"), {})
        small.fill()
        monkeypatch.setattr("proxy.committer.CHECKPOINT_PAGES", 500)
        with suppress(StorageFull):
            for number in range(100):
                await spool.append("acme", events(f"c-{number}", size=100_000), {})
            pytest.fail("the WAL takes anything")
        assert size_of(open_small.reserve) == 0
        assert size_of(database.path) > 2 * MEGABYTE


class TestAnyDisk:
    async def test_a_copy_with_holes_is_filled_at_the_start(self, open_: Open) -> None:
        open_.reserve.touch()
        os.truncate(open_.reserve, RESERVE)
        assert not is_allocated(open_.reserve)
        open_()
        assert is_allocated(open_.reserve)

    async def test_a_result_that_does_not_fit_gets_the_reserve_at_once(
        self, disk: Disk, open_: Open, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.database.RETRY_SECONDS", 3_600.0)  # not by waiting
        monkeypatch.setattr("proxy.reserve.LOOK_SECONDS", 3_600.0)
        first, second = open_(), open_()
        spool, other = (SqliteSpool(each, clock, DAY) for each in (first, second))
        leased = await taken(spool, 20, size=10_000)
        disk.is_full = lambda: size_of(open_.reserve) > 0
        with pytest.raises(StorageFull):
            await spool.append("acme", events("x", size=10_000), {})
        assert is_allocated(open_.reserve)  # it is not for these
        await settle(spool, leased, DELIVERED)
        assert counts(open_.path).delivered == 20
        assert size_of(open_.reserve) == 0
        await refuses(spool)
        second._committer._reserve._look_at = float("inf")
        await refuses(other)
        await second.write(lambda _: None)  # other things do not add

    async def test_with_room_again_any_process_makes_it_anew(
        self, open_: Open, clock: FakeClock
    ) -> None:
        first, second = open_(), open_()
        os.truncate(open_.reserve, 0)
        await takes_again(SqliteSpool(second, clock, DAY), "a")
        assert is_allocated(open_.reserve)
        await SqliteSpool(first, clock, DAY).append("acme", events("b"), {})

    async def test_one_that_was_made_by_half_is_none(self, open_: Open, clock: FakeClock) -> None:
        database = open_()
        os.truncate(open_.reserve, RESERVE // 2)
        database._committer._reserve._look_at = float("inf")
        await refuses(SqliteSpool(database, clock, DAY))
        open_()
        assert is_allocated(open_.reserve)

    async def test_where_files_may_not_be_so_large_there_is_none_and_nothing_is_refused(
        self, open_: Open, clock: FakeClock
    ) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (RESERVE - 1, before[1]))
        try:
            await SqliteSpool(open_(), clock, DAY).append("acme", events("a"), {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not open_.reserve.exists()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    async def test_a_quota_that_nobody_tells_of_is_no_room(
        self, open_: Open, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        allocate = os.posix_fallocate

        def refuse(descriptor: int, offset: int, length: int) -> None:
            allocate(descriptor, offset, length // 2)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        spool = SqliteSpool(open_(), clock, DAY)
        await refuses(spool)
        assert size_of(open_.reserve) == 0
        monkeypatch.setattr(os, "posix_fallocate", allocate)
        await takes_again(spool, "a")
        assert is_allocated(open_.reserve)

    @pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
    async def test_a_file_system_that_cannot_allocate_is_written_to(
        self, open_: Open, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def refuse(*_: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        open_()
        assert is_allocated(open_.reserve)
        assert open_.reserve.read_bytes().count(0) < RESERVE / 100

    async def test_without_one_that_of_earlier_goes(self, open_: Open, clock: FakeClock) -> None:
        open_()
        assert is_allocated(open_.reserve)
        await SqliteSpool(open_(0), clock, DAY).append("acme", events("a"), {})
        assert not open_.reserve.exists()

    async def test_it_stays_when_the_proxy_ends(self, open_: Open) -> None:
        await open_().close()
        assert is_allocated(open_.reserve)
