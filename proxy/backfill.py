"""Moving the WAL into the file while others write on: almost all of it, so that little is left for
the checkpoint that nobody may write beside.

https://sqlite.org/wal.html, "Checkpointing": a passive checkpoint moves what was committed when it
began, and is in nobody's way. But the WAL begins anew only after one that has moved all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import apsw

from proxy.connections import BROKEN, connect, is_full


class Backfill:
    """One at a time, in a thread and with a connection of its own."""

    def __init__(self, path: Path, on_broken: Callable[[apsw.Error], object]) -> None:
        self._path = path
        self._on_broken = on_broken
        self._executor = ThreadPoolExecutor(1, "spool-backfill")
        self._under_way: Future[None] | None = None
        self._connection: apsw.Connection | None = None

    @property
    def has_begun(self) -> bool:
        """Since the last `end`."""
        return self._under_way is not None

    @property
    def is_done(self) -> bool:
        """What has begun."""
        return self._under_way is not None and self._under_way.done()

    def begin(self) -> None:
        """Returns at once."""
        self._under_way = self._executor.submit(self._move)

    def end(self) -> None:
        """Waits for what is under way."""
        if self._under_way is not None:
            self._under_way.result()
        self._under_way = None

    def close(self) -> None:
        """Waits for what is under way, and lets go of the file."""
        self._executor.shutdown()
        if self._connection is not None:
            self._connection.close()

    def _move(self) -> None:
        try:
            if self._connection is None:
                self._connection = connect(self._path)
            self._connection.wal_checkpoint()
        except apsw.Error as error:
            # No room, or another process moves: the checkpoint that comes after deals with it.
            if isinstance(error, BROKEN) and not is_full(error):
                self._on_broken(error)
