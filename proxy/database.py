"""The one SQLite file: one thread writes, and everything that waits is written together.

Group commit adapts by itself: while one transaction is being synced to the disk, further jobs
queue up, and the next transaction takes them all. A lone job is committed at once. Several
processes may write by turns (`proxy.turns`); what queues up while one waits for its turn goes into
its transaction.

A transaction that returned is on the disk (WAL, synchronous=FULL). An I/O error ends the use of
the file for good: after a failed fsync nobody knows what the disk holds
(docs/decisions/0002-sqlite.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeVar

import apsw

from proxy.connections import (
    BROKEN,
    NOT_WRITTEN,
    Migration,
    is_full,
    open_for_reading,
    open_for_writing,
    refuse_old_sqlite,
    writing,
)
from proxy.errors import StorageBroken, StorageError, StorageFull
from proxy.reserve import Reserve
from proxy.turns import Turn, take_lock

__all__ = ["Database", "Job", "open_for_reading", "writing"]

T = TypeVar("T")

#: Work on the writing connection, inside a transaction that it shares with other jobs. It may run
#: again after a rollback.
Job = Callable[[apsw.Cursor], T]

MAX_JOBS: Final = 1_000  # in one transaction, so that the first of them need not wait too long
CHECKPOINT_PAGES: Final = 4_000  # of the WAL, 16 MB, before they are moved into the file
RETRY_SECONDS: Final = 1.0  # between tries to record results on a full disk


class _Write(NamedTuple):
    """A job and the future of whoever waits for it."""

    job: Job[Any]
    future: asyncio.Future[Any]
    must_land: bool
    adds: bool


class Database:
    """Opens the file and owns its writing thread. Made inside a running event loop."""

    def __init__(
        self,
        path: Path,
        schemas: Sequence[str],
        on_broken: Callable[[StorageBroken], None] = lambda _: None,
        lock: IO[str] | None = None,
        migrations: Mapping[int, Migration] | None = None,
        reserve_bytes: int = 0,
    ) -> None:
        """`schemas` are the tables, `migrations` how older files come to have them. `lock` is that
        of `take_lock`, if somebody took it already; the close lets go of it. `reserve_bytes` of the
        disk are kept for what must land (0: none).

        Raises:
            StorageError: the file cannot be used.

        """
        refuse_old_sqlite()
        self.path = path
        self.commits = 0
        self._lock = lock or take_lock(path)
        self._loop = asyncio.get_running_loop()
        self._on_broken = on_broken
        self._broken: StorageBroken | None = None
        self._closed = False
        self._wal_pages = 0
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._held: list[_Write] = []
        self._reserve = Reserve(path, reserve_bytes)
        self._turn = Turn(path)
        try:
            with self._turn:
                self._writer = open_for_writing(path, schemas, migrations or {}, self._reserve)
                self._reserve.prepare()
            self._writer.set_wal_hook(self._committed)
            self._reader = open_for_reading(path)
            # It closes last; that moves all into the file.
            self._reader.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        except (apsw.Error, StorageError) as error:
            self._turn.close()
            self._lock.close()
            raise StorageError(f"{path}: {error}") from None
        self._thread = threading.Thread(target=self._work, name="spool-writer", daemon=True)
        self._thread.start()

    def write(
        self, job: Job[T], *, must_land: bool = False, adds: bool = False
    ) -> asyncio.Future[T]:
        """Queues `job`, behind all that were queued before; its answer comes once it is on the
        disk. With `must_land` a full disk is waited out, for what must not be forgotten, and the
        reserve is there for it. What `adds` to the file, and so to what must land later, gets in
        only while there is a reserve.

        The future raises:
            StorageFull: no room; nothing of this job was stored.
            StorageBroken: the file cannot be used any more.
            StorageError: another program has held the file for too long; nothing was stored.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(StorageError(f"{self.path}: closed"))
            return future
        self._queue.put(_Write(job, future, must_land, adds))
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
        self._turn.close()
        self._lock.close()

    # The rest runs in the writing thread.

    def _work(self) -> None:
        stopping = False
        while not stopping:
            writes, self._held = self._held, []
            with contextlib.suppress(queue.Empty):
                # With held results at hand this is the pause between two tries.
                first = self._queue.get(timeout=RETRY_SECONDS if writes else None)
                stopping = first is None
                writes += [first] if first else []
            if writes:
                with self._turn:
                    stopping = stopping or self._take_queued(writes)
                    self._commit(self._admitted(writes))
                    self._checkpoint()
        for write in self._held:
            self._answer([(write, StorageFull("still no room at shutdown"))])
        with contextlib.suppress(apsw.Error):
            self._writer.close()

    def _take_queued(self, writes: list[_Write]) -> bool:
        """Moves what waits to `writes`, also what came while the turn was another's; whether
        nothing more will come.
        """
        with contextlib.suppress(queue.Empty):
            while len(writes) < MAX_JOBS:
                item = self._queue.get_nowait()
                if item is None:
                    return True
                writes.append(item)
        return False

    def _admitted(self, writes: list[_Write]) -> list[_Write]:
        """Without those that add, if the room that is left is not for them."""
        if self._reserve.stands():
            return writes
        full = StorageFull(f"{self.path}: the disk is full")
        self._answer([(write, full) for write in writes if write.adds])
        return [write for write in writes if not write.adds]

    def _commit(self, writes: list[_Write], *, again: bool = False) -> None:
        if not writes:
            return
        if self._broken:
            self._answer([(write, self._broken) for write in writes])
            return
        try:
            answers = self._transaction(writes)
        except NOT_WRITTEN as error:
            if is_full(error) or isinstance(error, apsw.BusyError):
                self._put_off(writes, error, again=again)
            else:
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
        except BaseException:  # whatever it is: it is raised again
            if self._writer.in_transaction:  # SQLite rolls back by itself on some errors
                cursor.execute("ROLLBACK")
            raise
        self.commits += 1
        return answers

    def _checkpoint(self) -> None:
        """SQLite's own checkpoints keep a failed fsync to themselves and try again, and the second
        try can succeed without the data. What is held may fit into a WAL that begins anew.

        Within the turn: a WAL begins anew only once all of it has been moved, which would never
        come to pass while others write on. `_wal_pages` counts the pages of all processes.
        """
        if not self._broken and (self._wal_pages >= CHECKPOINT_PAGES or self._held):
            self._move_wal()

    def _move_wal(self) -> None:
        try:
            self._writer.wal_checkpoint()
        except BROKEN as error:
            self._break(error)
        except apsw.Error as error:  # no room, or not now; the WAL keeps everything
            # The WAL must not get longer than what the reserve can take over into the file.
            if is_full(error) and self._reserve.give_up():
                self._move_wal()
        else:
            self._wal_pages = 0

    def _committed(self, _connection: apsw.Connection, _name: str, wal_pages: int) -> int:
        self._wal_pages = wal_pages
        return apsw.SQLITE_OK

    def _break(self, error: apsw.Error) -> StorageBroken:
        self._broken = StorageBroken(f"{self.path}: {type(error).__name__}: {error}")
        self._loop.call_soon_threadsafe(self._on_broken, self._broken)
        return self._broken

    def _put_off(self, writes: list[_Write], error: apsw.Error, *, again: bool) -> None:
        """Refuse what is new. Results of what was already sent get the reserve, and the WAL from
        its beginning; where that was not enough they wait for room on the disk, or for another
        program to let go of the file.
        """
        results = [write for write in writes if write.must_land]
        fresh = [write for write in writes if not write.must_land]
        kind = StorageFull if is_full(error) else StorageError
        self._answer([(write, kind(f"{self.path}: {error}")) for write in fresh])
        if fresh:
            self._commit(results, again=again)
        elif is_full(error) and not again:
            self._reserve.give_up()
            self._move_wal()
            self._commit(results, again=True)
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
