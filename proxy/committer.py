"""The connection that writes: transactions of many writes, and what becomes of each write when one
fails. Whoever uses it has the turn (`proxy.turns`); one thread at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from proxy.backfill import Backfill
from proxy.connections import (
    BROKEN,
    BUSY_MILLISECONDS,
    NOT_WRITTEN,
    Migration,
    is_full,
    open_for_writing,
)
from proxy.errors import StorageBroken, StorageError, StorageFull
from proxy.reserve import Reserve
from proxy.writes import Write, do_all

CHECKPOINT_PAGES: Final = 2_000  # of the WAL, 8 MB, before they are moved into the file
MOST_PAGES: Final = 2  # times that, however long the moving takes

#: A write, and what it is answered: what its job answered, or an exception.
Answer = tuple[Write, Any]


class Committer:
    """`held` are results for which there was no room, to be tried again."""

    def __init__(
        self,
        path: Path,
        schemas: Sequence[str],
        migrations: Mapping[int, Migration],
        reserve_bytes: int,
        on_broken: Callable[[StorageBroken], None],
    ) -> None:
        """Raises as `open_for_writing`."""
        self._path = path
        self._on_broken = on_broken
        self._reserve = Reserve(path, reserve_bytes)
        self._backfill = Backfill(path, self._break)
        self._wal_pages = 0
        self._answers: list[Answer] = []
        self.broken: StorageBroken | None = None
        self.held: list[Write] = []
        self.commits = 0
        self.connection = open_for_writing(path, schemas, migrations, self._reserve)
        self._reserve.prepare()
        self.connection.set_wal_hook(self._committed)

    def close(self) -> None:
        self._backfill.close()
        with contextlib.suppress(apsw.Error):
            self.connection.close()

    def do(self, writes: Sequence[Write]) -> list[Any] | None:
        """All but the commit, if it can be had without waiting and nothing is amiss. None where
        `commit` must do it from the beginning.
        """
        if self.broken or self.held:
            return None
        if any(write.adds for write in writes) and not self._reserve.is_whole():
            return None
        self.connection.set_busy_timeout(0)
        cursor = self.connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            return do_all(cursor, writes)
        except Exception:  # noqa: BLE001  it comes again where it is dealt with
            with contextlib.suppress(apsw.Error):
                self._roll_back()
            return None

    def commit(self, writes: list[Write], done: list[Any] | None) -> list[Answer]:
        """Writes, with what is held before it, and answers what is not held. `done` is what `do`
        answered.
        """
        self.connection.set_busy_timeout(BUSY_MILLISECONDS)
        if done is None:
            held, self.held = self.held, []
            writes = self._admitted([*held, *writes])
        self._commit(writes, done)
        answers, self._answers = self._answers, []
        return answers

    def _admitted(self, writes: list[Write]) -> list[Write]:
        """Without those that add, if the room that is left is not for them."""
        if self._reserve.stands():
            return writes
        full = StorageFull(f"{self._path}: the disk is full")
        self._answer([(write, full) for write in writes if write.adds])
        return [write for write in writes if not write.adds]

    def _commit(
        self, writes: list[Write], done: list[Any] | None = None, *, again: bool = False
    ) -> None:
        """`done` are the answers, if only the commit is missing."""
        if not writes:
            return
        if self.broken:
            self._answer([(write, self.broken) for write in writes])
            return
        try:
            answers = self._transaction(writes, done)
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

    def _transaction(self, writes: list[Write], done: list[Any] | None) -> list[Any]:
        cursor = self.connection.cursor()
        try:
            if done is None:
                cursor.execute("BEGIN IMMEDIATE")
                done = do_all(cursor, writes)
            cursor.execute("COMMIT")
        except BaseException:  # whatever it is: it is raised again
            self._roll_back()
            raise
        self.commits += 1
        return done

    def _roll_back(self) -> None:
        if self.connection.in_transaction:  # SQLite does it by itself on some errors
            self.connection.execute("ROLLBACK")

    def watch_wal(self) -> bool:
        """Has a long WAL moved, and says whether what is left of it is to be moved now. (What is
        held may fit into a WAL that begins anew.)
        """
        if self.broken or self._wal_pages < CHECKPOINT_PAGES:
            return not self.broken and bool(self.held)
        if not self._backfill.has_begun:
            self._backfill.begin()
        return self._backfill.is_done or self._wal_pages >= MOST_PAGES * CHECKPOINT_PAGES

    def checkpoint(self) -> None:
        """Moves what is left of the WAL into the file. SQLite's own checkpoints keep a failed fsync
        to themselves and try again, and the second try can succeed without the data.

        Within the turn: a WAL begins anew only once all of it has been moved, which would never
        come to pass while others write on.
        """
        self._backfill.end()
        try:
            self.connection.wal_checkpoint()
        except BROKEN as error:
            self._break(error)
        except apsw.Error as error:  # no room, or not now; the WAL keeps everything
            # The WAL must not get longer than what the reserve can take over into the file.
            if is_full(error) and self._reserve.give_up():
                self.checkpoint()
        else:
            self._wal_pages = 0

    def _committed(self, _connection: apsw.Connection, _name: str, wal_pages: int) -> int:
        self._wal_pages = wal_pages
        return apsw.SQLITE_OK

    def _break(self, error: apsw.Error) -> StorageBroken:
        """From whichever thread."""
        if self.broken is None:
            self.broken = StorageBroken(f"{self._path}: {type(error).__name__}: {error}")
            self._on_broken(self.broken)
        return self.broken

    def _put_off(self, writes: list[Write], error: apsw.Error, *, again: bool) -> None:
        """Refuse what is new. Results of what was already sent get the reserve, and the WAL from
        its beginning; where that was not enough they wait for room on the disk, or for another
        program to let go of the file.
        """
        results = [write for write in writes if write.must_land]
        fresh = [write for write in writes if not write.must_land]
        kind = StorageFull if is_full(error) else StorageError
        self._answer([(write, kind(f"{self._path}: {error}")) for write in fresh])
        if fresh:
            self._commit(results, again=again)
        elif is_full(error) and not again:
            self._reserve.give_up()
            self.checkpoint()
            self._commit(results, again=True)
        else:
            self.held += results

    def _answer(self, answers: Sequence[Answer]) -> None:
        self._answers += answers
