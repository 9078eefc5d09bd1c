"""Several programs on one file: one writes at a time, and each has its turn."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from proxy.connections import open_for_reading
from proxy.database import Database, writing
from proxy.errors import StorageBroken, StorageError
from proxy.turns import Turn, take_lock, wait_for_lock
from tests.test_database import SCHEMA, note, notes

PATIENCE = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = Database(path, (SCHEMA,))
    yield opened
    await opened.close()


OTHER = """
import asyncio, pathlib, sys
from proxy.database import Database, writing
from proxy.turns import Turn, take_lock

path, what = pathlib.Path(sys.argv[1]), sys.argv[2]

def ready():
    print("ready", flush=True)
    sys.stdin.readline()

async def write():
    # As a worker: the lock is its supervisor's.
    database = Database(path, (), lock=open(path.with_name("lock-of-another"), "w"))
    ready()
    for number in range(int(sys.argv[3])):
        await database.write(
            lambda cursor: cursor.execute("INSERT INTO notes (text) VALUES (?)", (f"b-{number}",))
        )
        print(flush=True)
    await database.close()

match what:
    case "turn":
        with Turn(path):
            ready()
    case "transaction":
        with writing(path) as connection:
            connection.execute("INSERT INTO notes (text) VALUES ('lost')")
            ready()
    case "lock":
        held = take_lock(path)
        ready()
    case "write":
        asyncio.run(write())
"""


@contextlib.asynccontextmanager
async def another(path: Path, *what: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that has got so far, and goes on once its input has a line."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OTHER, path, *what, stdin=pipe, stdout=pipe
    )
    try:
        async with asyncio.timeout(PATIENCE):
            assert process.stdout
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def goes_on(process: asyncio.subprocess.Process) -> None:
    assert process.stdin
    process.stdin.write(b"\n")
    await process.stdin.drain()


class TestTurn:
    async def test_what_queued_up_during_another_s_turn_is_one_commit(
        self, database: Database, path: Path
    ) -> None:
        before = database.commits
        async with another(path, "turn") as other:
            writes = [note(database, "0")]
            await _waits_for_turn()
            writes += [note(database, str(number)) for number in range(1, 100)]
            assert notes(database) == []
            await goes_on(other)
            await asyncio.wait_for(asyncio.gather(*writes), PATIENCE)
        assert database.commits == before + 1
        assert notes(database) == [str(number) for number in range(100)]

    @pytest.mark.parametrize("what", ["turn", "transaction"])
    async def test_the_turn_of_a_program_that_is_killed_is_over(
        self, database: Database, path: Path, what: str
    ) -> None:
        async with another(path, what) as other:
            write = note(database, "a")
            await _waits_for_turn()
            assert not write.done()
            other.kill()
            await asyncio.wait_for(write, PATIENCE)
        assert notes(database) == ["a"]

    async def test_while_it_waits_it_takes_no_time_of_the_processor(
        self, database: Database, path: Path
    ) -> None:
        async with another(path, "turn") as other:
            write = note(database, "a")
            await _waits_for_turn()
            before = _switches()
            for _ in range(1_000):
                await asyncio.sleep(0)
            assert _switches() == before
            await goes_on(other)
            await asyncio.wait_for(write, PATIENCE)

    async def test_a_close_waits_for_the_turn_and_writes_what_is_queued(self, path: Path) -> None:
        database = Database(path, (SCHEMA,))
        async with another(path, "turn") as other:
            writes = [note(database, str(number)) for number in range(5)]
            closing = asyncio.create_task(database.close())
            await _waits_for_turn()
            assert not closing.done()
            await goes_on(other)
            await asyncio.wait_for(closing, PATIENCE)
        assert all(write.done() for write in writes)
        reader = open_for_reading(path)
        assert len(list(reader.execute("SELECT text FROM notes"))) == 5
        reader.close()

    async def test_of_two_that_write_all_the_time_neither_starves(
        self, database: Database, path: Path
    ) -> None:
        """The queue of the one is always full, the other has one job at a time."""
        async with another(path, "write", "100") as other:
            done = asyncio.Event()

            async def write_all_the_time(lane: int) -> None:
                number = 0
                while not done.is_set():
                    await note(database, f"a-{lane}-{number}")
                    number += 1

            lanes = [asyncio.create_task(write_all_the_time(lane)) for lane in range(200)]
            await goes_on(other)
            async with asyncio.timeout(PATIENCE):
                assert await other.wait() == 0
            done.set()
            await asyncio.gather(*lanes)
        texts = notes(database)
        of_the_other = [index for index, text in enumerate(texts) if text.startswith("b-")]
        assert [texts[index] for index in of_the_other] == [f"b-{n}" for n in range(100)]
        # Between any two of its commits the other had a few, not hundreds.
        mine = sum(text.startswith("a-") for text in texts[: of_the_other[-1]])
        assert 100 <= mine <= 100 * 200 * 10

    async def test_the_wal_of_two_that_write_begins_anew_again_and_again(
        self, database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Were it moved into the file while another writes on, it would only ever grow."""
        monkeypatch.setattr("proxy.committer.CHECKPOINT_PAGES", 20)
        async with another(path, "write", "300") as other:
            await goes_on(other)
            number = 0
            async with asyncio.timeout(PATIENCE):
                while other.returncode is None:
                    await note(database, f"a-{number}")
                    number += 1
        assert len(notes(database)) == number + 300
        wal = path.with_name(path.name + "-wal")
        assert wal.stat().st_size < 4_200 * 20 * 10


def _thread() -> Path:
    """Of the writing thread."""
    threads = Path("/proc/self/task").iterdir()
    [found] = [each for each in threads if _is_waiting_for_flock(each)]
    return found


def _is_waiting_for_flock(task: Path) -> bool:
    try:
        number = task.joinpath("syscall").read_text().split()[0]
    except FileNotFoundError:  # it ended
        return False
    return number == _FLOCK


#: https://github.com/torvalds/linux/blob/master/arch/x86/entry/syscalls/syscall_64.tbl, and
#: include/uapi/asm-generic/unistd.h for arm64.
_FLOCK = {"x86_64": "73", "aarch64": "32"}[os.uname().machine]


def _a_thread_waits_for_flock() -> bool:
    return any(map(_is_waiting_for_flock, Path("/proc/self/task").iterdir()))


async def _waits_for_turn() -> None:
    async with asyncio.timeout(PATIENCE):
        while not _a_thread_waits_for_flock():  # noqa: ASYNC110  the kernel tells nobody
            await asyncio.sleep(0.001)


def _switches() -> str:
    return _thread().joinpath("status").read_text().partition("voluntary_ctxt")[2]


class TestWriting:
    async def test_a_program_beside_the_proxy_writes_whole_transactions(
        self, database: Database, path: Path
    ) -> None:
        def write() -> None:
            with writing(path) as connection:
                connection.execute("INSERT INTO notes (text) VALUES ('b')")

        await note(database, "a")
        await asyncio.to_thread(write)
        assert notes(database) == ["a", "b"]
        await note(database, "c")

    async def test_what_an_exception_leaves_is_undone_and_the_turn_is_over(
        self, database: Database, path: Path
    ) -> None:
        def interrupted() -> None:
            with writing(path) as connection:
                connection.execute("INSERT INTO notes (text) VALUES ('b')")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        await asyncio.wait_for(note(database, "a"), PATIENCE)
        assert notes(database) == ["a"]

    def test_without_a_file_nothing_is_made(self, path: Path) -> None:
        with pytest.raises(StorageBroken, match=r"spool\.db.*unable to open"), writing(path):
            pytest.fail("there is nothing to write to")
        assert not path.exists()

    def test_a_program_that_takes_no_turns_is_waited_for_and_then_named(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.connections.BUSY_MILLISECONDS", 1)
        other = apsw.Connection(str(path))
        other.execute("CREATE TABLE t (a); BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"), writing(path):
            pytest.fail("it is not our turn")
        other.close()


class TestLock:
    async def test_a_start_waits_for_one_that_is_about_to_end(self, path: Path) -> None:
        async with another(path, "lock") as other:
            waiting = asyncio.create_task(wait_for_lock(path))
            await asyncio.sleep(0)
            assert not waiting.done()
            other.send_signal(signal.SIGKILL)
            (await asyncio.wait_for(waiting, PATIENCE)).close()

    async def test_one_that_does_not_end_is_named_in_the_end(self, path: Path) -> None:
        async with another(path, "lock"):
            with pytest.raises(StorageError, match="another kochava-proxy is using this file"):
                await wait_for_lock(path, patience=0.01)

    async def test_the_lock_lasts_as_long_as_any_that_inherited_it(self, path: Path) -> None:
        lock = take_lock(path)
        inherited = os.dup(lock.fileno())
        lock.close()
        with pytest.raises(StorageError, match="another kochava-proxy"):
            take_lock(path)
        os.close(inherited)
        take_lock(path).close()

    async def test_a_folder_that_cannot_be_made_is_not_waited_for(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match=r"file/spool\.db.*(exists|directory)"):
            await asyncio.wait_for(wait_for_lock(tmp_path / "file" / "spool.db"), 5)

    def test_whoever_has_the_turn_has_it_alone(self, path: Path) -> None:
        with contextlib.closing(Turn(path)) as first, contextlib.closing(Turn(path)) as second:
            with first, pytest.raises(BlockingIOError):
                fcntl.flock(second._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with second:
                pass
