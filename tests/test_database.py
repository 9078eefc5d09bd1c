from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from proxy.connections import SCHEMA_VERSION
from proxy.database import Database, open_for_reading
from proxy.errors import StorageError

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE);"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "spool.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = Database(path, (SCHEMA,))
    yield opened
    await opened.close()


def note(database: Database, text: str, *, must_land: bool = False) -> asyncio.Future[None]:
    def job(cursor: apsw.Cursor) -> None:
        cursor.execute("INSERT INTO notes (text) VALUES (?)", (text,))

    return database.write(job, must_land=must_land)


def notes(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT text FROM notes ORDER BY id")]


async def test_a_commit_is_synced_to_the_disk(database: Database) -> None:
    def pragmas(cursor: apsw.Cursor) -> list[object]:
        names = ("journal_mode", "synchronous")
        return [cursor.connection.pragma(name) for name in names]

    assert await database.write(pragmas) == ["wal", 2]  # 2 is FULL


async def test_an_answer_comes_when_others_can_read_what_was_written(
    database: Database, path: Path
) -> None:
    reader = open_for_reading(path)
    await note(database, "a")
    assert list(reader.execute("SELECT text FROM notes")) == [("a",)]
    reader.close()


async def test_jobs_run_in_the_order_in_which_they_were_queued(database: Database) -> None:
    await asyncio.gather(*(note(database, str(number)) for number in range(2_500)))
    assert notes(database) == [str(number) for number in range(2_500)]


def insert(cursor: apsw.Cursor, texts: Sequence[str]) -> list[str]:
    cursor.executemany("INSERT INTO notes (text) VALUES (?)", [(text,) for text in texts])
    return list(texts)


async def test_what_is_patient_waits_a_moment_for_company(database: Database) -> None:
    last: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answers: list[Any] = []
    keep: Callable[[Any], None] = answers.append
    await note(database, "first")
    before = database.commits
    for text, answered in (("a", keep), ("b", keep), ("c", last.set_result)):
        database.write_item(insert, text, answered, patient=True)
        await asyncio.sleep(0)
    assert database.commits == before
    assert await last == "c"
    assert answers == ["a", "b"]
    assert database.commits == before + 1


async def test_what_is_patient_goes_with_the_next_that_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.database.LINGER_SECONDS", 3_600)
    answers: list[Any] = []
    database.write_item(insert, "a", answers.append, patient=True)
    await note(database, "b")
    assert answers == ["a"]
    assert notes(database) == ["a", "b"]
    assert database.commits == 1


async def test_what_is_patient_is_written_at_the_close(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.database.LINGER_SECONDS", 3_600)
    answers: list[Any] = []
    database = Database(path, (SCHEMA,))
    database.write_item(insert, "a", answers.append, patient=True)
    async with asyncio.timeout(5):
        await database.close()
    assert answers == ["a"]


async def test_a_faulty_job_does_not_sink_its_neighbours(database: Database) -> None:
    def half(cursor: apsw.Cursor) -> None:
        cursor.execute("INSERT INTO notes (text) VALUES ('half')")
        raise ValueError("a fault of ours")

    writes = [note(database, "a"), database.write(half), note(database, "a"), note(database, "b")]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [
        type(None), ValueError, apsw.ConstraintError, type(None),
    ]  # fmt: skip
    assert notes(database) == ["a", "b"]


async def test_a_job_whose_caller_has_gone_is_done_whole(database: Database) -> None:
    writes = [note(database, str(number)) for number in range(10)]
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes[1::2])
    assert len(notes(database)) == 10


async def test_the_close_waits_for_what_is_queued(path: Path) -> None:
    database = Database(path, (SCHEMA,))
    writes = [note(database, str(number)) for number in range(2_500)]
    await database.close()
    await asyncio.gather(*writes)
    again = Database(path, (SCHEMA,))
    assert len(notes(again)) == 2_500
    await again.close()
    await again.close()  # twice is fine


async def test_after_the_close_a_job_is_refused(path: Path) -> None:
    database = Database(path, (SCHEMA,))
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await asyncio.wait_for(note(database, "late"), 5)


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2"])
async def test_a_sqlite_that_can_corrupt_its_wal_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """https://sqlite.org/wal.html, "The WAL-Reset Bug": mended in 3.51.3."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    with pytest.raises(StorageError, match=rf"{version}.*3\.51\.3 or newer"):
        Database(path, (SCHEMA,))


async def test_a_sqlite_without_arrays_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "compile_options", ("ENABLE_FTS5",))
    with pytest.raises(StorageError, match="built without carray"):
        Database(path, (SCHEMA,))


async def test_a_fault_of_one_of_many_is_its_own(database: Database) -> None:
    """They share a transaction in the loop, which is done again one by one in the thread."""

    def fail(_: apsw.Cursor) -> None:
        raise ValueError("mine")

    writes = [note(database, "a"), database.write(fail), note(database, "b")]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [str(answer) for answer in answers if isinstance(answer, ValueError)] == ["mine"]
    assert notes(database) == ["a", "b"]


async def test_a_second_opening_is_refused(database: Database, path: Path) -> None:
    with pytest.raises(StorageError, match="another kochava-proxy is using this file") as error:
        Database(path, (SCHEMA,))
    assert str(path) in str(error.value)
    await note(database, "the first goes on")


OPEN = """
import asyncio, pathlib, sys
from proxy.connections import SCHEMA_VERSION
from proxy.database import Database

async def main():
    await Database(pathlib.Path(sys.argv[1]), ()).close()

asyncio.run(main())
"""


async def test_a_second_process_is_refused_until_the_first_has_closed(path: Path) -> None:
    def open_elsewhere() -> str:
        command = [sys.executable, "-c", OPEN, str(path)]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=30
        ).stderr

    database = Database(path, (SCHEMA,))
    assert "another kochava-proxy is using this file" in await asyncio.to_thread(open_elsewhere)
    await database.close()
    assert await asyncio.to_thread(open_elsewhere) == ""


class TestFilesThatCannotBeUsed:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "spool.db"

    @pytest.fixture
    def diary(self, path: Path) -> Path:
        path.write_text("Dear diary, " * 100)
        return path

    def make(self, path: Path, statement: str) -> None:
        connection = apsw.Connection(str(path))
        connection.execute(statement)
        connection.close()

    async def test_a_schema_of_the_future(self, path: Path) -> None:
        self.make(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        with pytest.raises(StorageError, match="newer version of kochava-proxy") as error:
            Database(path, (SCHEMA,))
        assert str(path) in str(error.value)
        with pytest.raises(StorageError, match="newer version of kochava-proxy"):
            open_for_reading(path)

    async def test_a_file_that_is_no_database(self, diary: Path) -> None:
        with pytest.raises(StorageError, match="file is not a database") as error:
            Database(diary, (SCHEMA,))
        assert str(diary) in str(error.value)

    async def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="unable to open"):
            Database(tmp_path, (SCHEMA,))

    async def test_a_database_of_another_shape(self, path: Path) -> None:
        self.make(path, "CREATE TABLE notes (other)")
        with pytest.raises(StorageError, match="no such column"):
            Database(path, (SCHEMA, "CREATE INDEX IF NOT EXISTS by_text ON notes (text);"))

    async def test_what_was_refused_can_be_opened_once_it_is_mended(self, path: Path) -> None:
        self.make(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        for _ in range(2):
            with pytest.raises(StorageError, match="newer version"):
                Database(path, (SCHEMA,))
        self.make(path, f"PRAGMA user_version = {SCHEMA_VERSION}")
        database = Database(path, (SCHEMA,))
        await note(database, "a")
        await database.close()


async def test_a_program_that_holds_the_file_delays_results_and_loses_none(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.database.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("proxy.committer.BUSY_MILLISECONDS", 0)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    result = note(database, "kept", must_land=True)
    with pytest.raises(StorageError):
        await asyncio.wait_for(note(database, "refused"), 5)
    assert not result.done()
    other.execute("ROLLBACK")
    other.close()
    await asyncio.wait_for(result, 5)
    assert notes(database) == ["kept"]
