"""The one SQLite file: everything that waits is written together, and a thread commits it.

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
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import apsw

from proxy.committer import Answer, Committer
from proxy.connections import (
    BROKEN,
    Migration,
    open_for_reading,
    refuse_old_sqlite,
    writing,
)
from proxy.errors import StorageBroken, StorageError, StorageFull
from proxy.turns import Turn, take_lock
from proxy.writes import Job, Work, Write, tell

__all__ = ["Database", "open_for_reading", "writing"]

T = TypeVar("T")
Item = TypeVar("Item")

#: Events, results and the like from which on a transaction takes no more, so that the first of them
#: need not wait long.
MAX_SIZE: Final = 100
LINGER_SECONDS: Final = 0.02  # for which what is patient waits for company
MAX_QUICK: Final = 200  # done in the loop, so that nothing else there has to wait for long
RETRY_SECONDS: Final = 1.0  # between tries to record results on a full disk


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
        self._on_broken = on_broken
        self._lock = lock or take_lock(path)
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._queue: deque[Write] = deque()
        self._urgent = 0  # of these, that are not patient
        self._begins: asyncio.Handle | None = None
        self._lingers = False  # `_begins` is later than soon
        self._under_way = False  # from `_begin` to `_ended`
        self._rests = asyncio.Event()  # nothing is queued or under way
        self._rests.set()
        self._turn = Turn(path)
        try:
            with self._turn:
                self._committer = Committer(
                    path, schemas, migrations or {}, reserve_bytes, self._broken
                )
            self._reader = open_for_reading(path)
            # It closes last; that moves all into the file.
            self._reader.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        except (apsw.Error, StorageError) as error:
            self._turn.close()
            self._lock.close()
            raise StorageError(f"{path}: {error}") from None
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="spool-writer", daemon=True)
        self._thread.start()

    @property
    def commits(self) -> int:
        """Transactions so far."""
        return self._committer.commits

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
        self.write_job(job, partial(tell, future), must_land=must_land, adds=adds)
        return future

    def write_job(
        self,
        job: Job[T],
        answered: Callable[[T | BaseException], None],
        *,
        must_land: bool = False,
        adds: bool = False,
    ) -> None:
        """As `write`, but `answered` is called with the answer or the exception: before what was
        queued later is answered, while whoever waits for a future hears of it after all that was
        written together.
        """
        self._put(Write(job, None, None, 1, answered, must_land, adds))

    def write_item(
        self,
        work: Work[Item, T],
        item: Item,
        answered: Callable[[T | BaseException], None],
        *,
        size: int = 1,
        must_land: bool = False,
        adds: bool = False,
        patient: bool = False,
    ) -> None:
        """As `write`, for one of many items that are written together (`proxy.writes.do_all`);
        `answered` is called with the answer or the exception. `size` says how many times more
        there is to do for this one than for a small one. What is `patient` may wait a moment, so
        that there are fewer transactions.
        """
        self._put(Write(None, work, item, size, answered, must_land, adds, patient))

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
        self._begin_soon()
        await self._rests.wait()
        if self._begins:
            self._begins.cancel()
        self._tasks.put(None)
        await asyncio.to_thread(self._thread.join)
        full = StorageFull("still no room at shutdown")
        self._resolve([(write, full) for write in self._committer.held])
        if self._committer.broken:  # then no last checkpoint either, which would delete the WAL
            with contextlib.suppress(apsw.ConnectionClosedError):
                self._reader.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._reader.close()
        self._turn.close()
        self._lock.close()

    # In the loop: `_begin`, `_do` and, once that is committed, `_ended`.

    def _put(self, write: Write) -> None:
        if self._closed:
            self._loop.call_soon(write.answered, StorageError(f"{self.path}: closed"))
            return
        self._queue.append(write)
        self._urgent += not write.patient
        self._rests.clear()
        self._begin_soon()

    def _begin_soon(self) -> None:
        """With all else that this turn of the loop has to write; where all of it is patient, with
        what the next moment brings.
        """
        waits = self._queue or (self._committer.held and not self._closed)
        if self._under_way or not waits:
            return
        lingers = not self._urgent and len(self._queue) < MAX_SIZE and not self._closed
        if self._begins and self._lingers and not lingers:
            self._begins.cancel()
            self._begins = None
        if not self._begins:
            self._lingers = lingers
            if lingers:
                self._begins = self._loop.call_later(LINGER_SECONDS, self._begin)
            else:
                self._begins = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._begins = None
        self._under_way = True
        if self._turn.try_take():
            self._do()
        else:
            self._tasks.put(self._wait_for_turn)

    def _do(self) -> None:
        """Takes what is queued, as far as it goes into one transaction; the turn is ours.

        What is little is done here, all but the commit: two threads that both run Python get in
        each other's way at every statement.
        """
        writes: list[Write] = []
        size = 0
        while self._queue and size < MAX_SIZE:
            writes.append(self._queue.popleft())
            size += writes[-1].size
            self._urgent -= not writes[-1].patient
        done = self._committer.do(writes) if size <= MAX_QUICK else None
        self._tasks.put(partial(self._commit, writes, done))

    def _ended(self, answers: Sequence[Answer] = ()) -> None:
        self._resolve(answers)
        self._under_way = False
        if self._urgent:
            self._begin()
        elif self._queue:
            self._begin_soon()
        else:
            self._rests.set()
            if self._committer.held:
                self._loop.call_later(RETRY_SECONDS, self._begin_soon)

    def _resolve(self, answers: Sequence[Answer]) -> None:
        for write, answer in answers:
            write.answered(answer)

    def _broken(self, error: StorageBroken) -> None:
        """From whichever thread."""
        self._loop.call_soon_threadsafe(self._on_broken, error)

    # In the thread, while `_under_way`.

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
        self._committer.close()

    def _wait_for_turn(self) -> None:
        self._turn.take()
        self._loop.call_soon_threadsafe(self._do)

    def _commit(self, writes: list[Write], done: list[Any] | None) -> None:
        answers: Sequence[Answer] = ()
        try:
            answers = self._committer.commit(writes, done)
            if self._committer.watch_wal():
                self._loop.call_soon_threadsafe(self._resolve, answers)
                answers = ()  # they need not wait for it
                self._committer.checkpoint()
        finally:
            self._turn.give()
            self._loop.call_soon_threadsafe(self._ended, answers)
