"""What a worker knows reaches other processes, and is not believed once it has gone."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from structlog.testing import capture_logs

from proxy.appstate import AppState, WorkerState
from proxy.database import Database
from proxy.errors import StorageFull
from proxy.observe.published import STALE_SECONDS, Publisher, read_states
from proxy.writes import Job
from tests.support import NOW, FakeClock


class Worker:
    """A worker that publishes, and every state that it wrote."""

    def __init__(self, clock: FakeClock, database: Database, index: int = 0) -> None:
        self.clock = clock
        self.apps = [AppState("koacme", limit=20)]
        self.index = index
        self.pid = os.getpid()
        self.full = False
        self.set_back = 0.0
        self.writes = 0
        self._database = database
        self._tried = asyncio.Event()

    def now(self) -> float:
        return self.clock.now() - self.set_back

    def state(self) -> WorkerState:
        return WorkerState(self.index, self.pid, NOW, self.now(), self.apps)

    def write(self, job: Job[None]) -> asyncio.Future[None]:
        self._tried.set()
        if self.full:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.set_exception(StorageFull("no room"))
            return future
        self.writes += 1
        return self._database.write(job)

    async def tries(self) -> None:
        """Returns when it has written, or tried to."""
        async with asyncio.timeout(5):
            await self._tried.wait()
        self._tried.clear()
        await self._database.write(lambda _: None)  # behind it
        await asyncio.sleep(0)

    def seen(self) -> list[WorkerState]:
        return read_states(self._database.read, self.now())


@asynccontextmanager
async def publishing(worker: Worker) -> AsyncIterator[None]:
    publisher = Publisher(worker.write, worker.state, worker.clock)
    task = asyncio.create_task(publisher.run())
    await worker.tries()
    yield
    publisher.stop()
    async with asyncio.timeout(5):
        await task


@pytest.fixture
def worker(clock: FakeClock, database: Database) -> Worker:
    return Worker(clock, database)


async def turn(worker: Worker, seconds: float) -> None:
    """Lets the time pass, and whoever waits for it do what they do without writing."""
    for _ in range(10):
        await asyncio.sleep(0)
    await worker.clock.advance(seconds)
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_state_is_seen_at_once_and_gone_after_an_orderly_end(worker: Worker) -> None:
    async with publishing(worker):
        assert worker.seen() == [worker.state()]
    assert worker.seen() == []


async def test_a_change_is_seen_a_second_later(worker: Worker) -> None:
    async with publishing(worker):
        worker.apps = [AppState("koacme", paused="status_401")]
        await turn(worker, 1)
        await worker.tries()
        assert worker.seen()[0].apps[0].paused == "status_401"


async def test_without_a_change_it_writes_every_ten_seconds(worker: Worker) -> None:
    async with publishing(worker):
        for _ in range(9):
            await turn(worker, 1)
        assert worker.writes == 1
        await turn(worker, 1)
        await worker.tries()
        assert worker.writes == 2
        assert worker.seen()[0].at == NOW + 10


async def test_a_clock_that_was_set_back_does_not_silence_it(worker: Worker) -> None:
    async with publishing(worker):
        worker.set_back = 3_600
        await turn(worker, 1)
        await worker.tries()
        assert worker.seen()[0].at == NOW + 1 - 3_600


async def test_a_full_disk_is_outlasted(worker: Worker) -> None:
    worker.full = True
    async with publishing(worker):
        assert worker.seen() == []
        worker.full = False
        await turn(worker, 1)
        await worker.tries()
        assert worker.seen() == [worker.state()]


async def test_a_fault_in_it_is_logged_and_ends_nothing_else(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> WorkerState:
        raise RuntimeError("a fault of ours")

    with capture_logs() as logs:
        async with asyncio.timeout(5):
            await Publisher(worker.write, fail, worker.clock).run()
    assert [log["event"] for log in logs] == ["states_not_published"]


@pytest.mark.parametrize(
    ("seconds", "believed"), [(STALE_SECONDS, True), (STALE_SECONDS + 1, False)]
)
async def test_a_worker_that_hangs_is_not_believed_for_long(
    worker: Worker, seconds: float, believed: bool
) -> None:
    async with publishing(worker):
        states = read_states(worker._database.read, NOW + seconds)
        assert bool(states) is believed


async def test_a_worker_that_was_killed_is_not_believed_at_all(worker: Worker) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    worker.pid = process.pid
    async with publishing(worker):
        assert worker.seen() == []


async def test_a_worker_that_took_the_place_of_one_is_not_taken_back_with_it(
    worker: Worker, clock: FakeClock, database: Database
) -> None:
    worker.pid = os.getppid()
    successor = Worker(clock, database)
    async with publishing(worker):
        task = asyncio.create_task(
            (publisher := Publisher(successor.write, successor.state, clock)).run()
        )
        await successor.tries()
    assert successor.seen() == [successor.state()]
    publisher.stop()
    await task


async def test_workers_stand_side_by_side_in_order(
    worker: Worker, clock: FakeClock, database: Database
) -> None:
    other = Worker(clock, database, index=1)
    async with publishing(other), publishing(worker):
        assert worker.seen() == [worker.state(), other.state()]


async def test_what_another_version_wrote_is_passed_over(
    worker: Worker, database: Database
) -> None:
    row = (7, os.getpid(), NOW, msgspec.json.encode({"worker": 7, "apps": "many"}))
    await database.write(
        lambda cursor: list(cursor.execute("INSERT INTO worker_states VALUES (?, ?, ?, ?)", row))
    )
    async with publishing(worker):
        assert worker.seen() == [worker.state()]


async def test_a_file_in_which_nobody_publishes_has_no_states(database: Database) -> None:
    await database.write(lambda cursor: list(cursor.execute("DROP TABLE worker_states")))
    assert read_states(database.read, NOW) == []
