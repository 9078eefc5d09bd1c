"""The one SQLite file: one thread writes, and everything that waits is written together.

Group commit adapts by itself: while one transaction is being synced to the disk, further jobs
queue up, and the next transaction takes them all. A lone job is committed at once.

A transaction that returned is on the disk (WAL, synchronous=FULL). An I/O error ends the use of
the file for good: after a failed fsync nobody knows what the disk holds
(docs/decisions/0002-sqlite.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import apsw

from proxy.errors import StorageBroken, StorageError, StorageFull

T = TypeVar("T")

#: Work on the writing connection, inside a transaction that it shares with other jobs. It may run
#: again after a rollback.
Job = Callable[[apsw.Cursor], T]

#: Older versions corrupt a WAL file when two connections write and checkpoint at once.
OLDEST_SQLITE: Final = (3, 51, 3)
SCHEMA_VERSION: Final = 1
MAX_JOBS: Final = 1_000  # in one transaction, so that the first of them need not wait too long
#: After these nobody can say what the disk holds, or whether it will hold anything again.
BROKEN: Final = (
    apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError, apsw.CantOpenError,
)  # fmt: skip
CHECKPOINT_PAGES: Final = 4_000  # of the WAL, 16 MB, before they are moved into the file
RETRY_SECONDS: Final = 1.0  # between tries to record results on a full disk


class _Write:
    """A job and the future of whoever waits for it."""

    __slots__ = ("future", "job", "must_land")

    def __init__(self, job: Job[Any], future: asyncio.Future[Any], *, must_land: bool) -> None:
        self.job = job
        self.future = future
        self.must_land = must_land


class Database:
    """Opens the file and owns its writing thread. Made inside a running event loop."""

    def __init__(
        self,
        path: Path,
        schemas: Sequence[str],
        on_broken: Callable[[StorageBroken], None] = lambda _: None,
    ) -> None:
        _refuse_old_sqlite()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.commits = 0
        self._lock = _lock(path)
        self._loop = asyncio.get_running_loop()
        self._on_broken = on_broken
        self._broken: StorageBroken | None = None
        self._closed = False
        self._wal_pages = 0
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._held: list[_Write] = []
        try:
            self._writer = apsw.Connection(str(path))
            _prepare(self._writer, schemas)
            self._writer.set_wal_hook(self._committed)
            self._reader = open_for_reading(path)
        except (apsw.Error, StorageError) as error:
            self._lock.close()
            raise StorageError(f"{path}: {error}") from None
        self._thread = threading.Thread(target=self._work, name="spool-writer", daemon=True)
        self._thread.start()

    def write(self, job: Job[T], *, must_land: bool = False) -> asyncio.Future[T]:
        """Queues `job`, behind all that were queued before; its answer comes once it is on the
        disk. With `must_land` a full disk is waited out, for what must not be forgotten.

        The future raises:
            StorageFull: no room; nothing of this job was stored.
            StorageBroken: the file cannot be used any more.
            StorageError: another program has held the file for too long; nothing was stored.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(StorageError(f"{self.path}: closed"))
            return future
        self._queue.put(_Write(job, future, must_land=must_land))
        return future

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows as last committed. Runs in the calling thread; meant for short look-ups.

        Raises:
            StorageBroken: the file cannot be read.

        """
        try:
            return list(self._reader.execute(statement, tuple(values)))
        except BROKEN as error:
            raise StorageBroken(f"{self.path}: {type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """Writes what is queued, then lets go of the file."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._broken:  # then no last checkpoint either, which would delete the WAL
            with contextlib.suppress(apsw.ConnectionClosedError):
                self._reader.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._reader.close()
        self._lock.close()

    # The rest runs in the writing thread.

    def _work(self) -> None:
        stopping = False
        while not stopping:
            writes, self._held = self._held, []
            with contextlib.suppress(queue.Empty):
                # With held results at hand this is the pause between two tries.
                item = self._queue.get(timeout=RETRY_SECONDS if writes else None)
                while item is not None:
                    writes.append(item)
                    if len(writes) >= MAX_JOBS:
                        break
                    item = self._queue.get_nowait()
                stopping = item is None
            if writes:
                self._commit(writes)
                self._checkpoint()
        for write in self._held:
            self._answer([(write, StorageFull("still no room at shutdown"))])
        with contextlib.suppress(apsw.Error):
            self._writer.close()

    def _commit(self, writes: list[_Write]) -> None:
        if self._broken:
            self._answer([(write, self._broken) for write in writes])
            return
        try:
            answers = self._transaction(writes)
        except (apsw.FullError, apsw.BusyError) as error:
            self._put_off(writes, error)
        except BROKEN as error:
            broken = self._break(error)
            self._answer([(write, broken) for write in writes])
        except Exception as error:  # noqa: BLE001  a faulty job: it alone may fail
            if len(writes) == 1:
                self._answer([(writes[0], error)])
            else:
                for write in writes:
                    self._commit([write])
        else:
            self._answer(list(zip(writes, answers, strict=True)))

    def _transaction(self, writes: list[_Write]) -> list[Any]:
        cursor = self._writer.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            answers = [write.job(cursor) for write in writes]
            cursor.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:  # SQLite rolls back by itself on some errors
                cursor.execute("ROLLBACK")
            raise
        self.commits += 1
        return answers

    def _checkpoint(self) -> None:
        """SQLite's own checkpoints keep a failed fsync to themselves and try again, and the second
        try can succeed without the data. What is held may fit into a WAL that begins anew.
        """
        if self._broken or (self._wal_pages < CHECKPOINT_PAGES and not self._held):
            return
        try:
            self._writer.wal_checkpoint()
        except BROKEN as error:
            self._break(error)
        except apsw.Error:
            return  # no room, or not now; the WAL keeps everything
        self._wal_pages = 0

    def _committed(self, _connection: apsw.Connection, _name: str, wal_pages: int) -> int:
        self._wal_pages = wal_pages
        return apsw.SQLITE_OK

    def _break(self, error: apsw.Error) -> StorageBroken:
        self._broken = StorageBroken(f"{self.path}: {type(error).__name__}: {error}")
        self._loop.call_soon_threadsafe(self._on_broken, self._broken)
        return self._broken

    def _put_off(self, writes: list[_Write], error: apsw.FullError | apsw.BusyError) -> None:
        """Refuse what is new; results of what was already sent wait for room on the disk, or for
        another program to let go of the file.
        """
        results = [write for write in writes if write.must_land]
        fresh = [write for write in writes if not write.must_land]
        kind = StorageFull if isinstance(error, apsw.FullError) else StorageError
        self._answer([(write, kind(f"{self.path}: {error}")) for write in fresh])
        if fresh and results:
            self._commit(results)
        else:
            self._held += results

    def _answer(self, answers: list[tuple[_Write, Any]]) -> None:
        def resolve() -> None:
            for write, answer in answers:
                if write.future.done():
                    continue  # whoever waited has gone
                if isinstance(answer, BaseException):
                    write.future.set_exception(answer)
                else:
                    write.future.set_result(answer)

        self._loop.call_soon_threadsafe(resolve)


def open_for_reading(path: Path) -> apsw.Connection:
    """A second connection that only reads, beside a running proxy or without one."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(5_000)
    connection.execute("PRAGMA query_only = ON")
    version = connection.pragma("user_version")
    if version > SCHEMA_VERSION:
        raise StorageError(f"written by a newer version of kochava-proxy (schema {version})")
    return connection


def _prepare(connection: apsw.Connection, schemas: Sequence[str]) -> None:
    connection.set_busy_timeout(5_000)
    version = cast("int", connection.pragma("user_version"))
    if version > SCHEMA_VERSION:
        raise StorageError(f"written by a newer version of kochava-proxy (schema {version})")
    mode = connection.pragma("journal_mode", "wal")
    if mode != "wal":
        raise StorageError(f"the file system allows no WAL (journal mode {mode})")
    connection.pragma("synchronous", "full")
    connection.pragma("wal_autocheckpoint", 0)  # `Database` does it, and hears how it went
    with connection:
        for schema in schemas:
            connection.execute(schema)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _lock(path: Path) -> Any:
    """One proxy at a time: two on one file would each send everything."""
    file = path.with_name(path.name + ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StorageError(f"{path}: another kochava-proxy is using this file") from None
    return file


def _refuse_old_sqlite() -> None:
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StorageError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt its WAL; {oldest} or newer is needed"
        )
