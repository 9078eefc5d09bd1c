"""Who may use the file, and whose turn it is to write: two lock files beside it.

`<path>.lock` says "one proxy at a time": two on one file would each send everything. Its descriptor
goes from the supervisor to its workers, so that the lock ends with the last of them.

`<path>.write` says whose turn it is to write. Who waits for it sleeps in the kernel, where SQLite
would look again and again, at longer and longer intervals.

Both are of flock(2): it belongs to the open file and goes with the last process that has it open,
however that one ends (https://man7.org/linux/man-pages/man2/flock.2.html).
"""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import structlog

from proxy.errors import StorageError

#: The workers of a supervisor that was killed need a moment to end.
PATIENCE_SECONDS: Final = 4.0
_LOOK_SECONDS: Final = 0.05

_log = structlog.get_logger(room="database")


def take_lock(path: Path) -> IO[str]:
    """The file for this process and those that inherit the descriptor; closing lets go of it.

    Raises:
        StorageError: another proxy has it, or the folder is not to be written to.

    """
    if (file := _try_lock(path)) is None:
        raise StorageError(f"{path}: another kochava-proxy is using this file")
    return file


async def wait_for_lock(path: Path, patience: float = PATIENCE_SECONDS) -> IO[str]:
    """As `take_lock`, but waits up to `patience` seconds for another proxy to end."""
    if (file := _try_lock(path)) is not None:
        return file
    _log.warning("waiting_for_file")
    try:
        async with asyncio.timeout(patience):
            while (file := _try_lock(path)) is None:  # noqa: ASYNC110  flock sets no event
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return take_lock(path)
    return file


def _try_lock(path: Path) -> IO[str] | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise StorageError(f"{path}: {error}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        file.close()
        raise StorageError(f"{path}: {error}") from None
    return file


class Turn:
    """As a context: it is this program's turn to write."""

    def __init__(self, path: Path) -> None:
        """Raises:
        StorageError: the file system does not let us.

        """
        try:
            self._file = path.with_name(path.name + ".write").open("a")
        except OSError as error:
            raise StorageError(f"{path}: {error}") from None

    def take(self) -> None:
        """Waits for it."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def try_take(self) -> bool:
        """Whether it was nobody else's."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give()

    def close(self) -> None:
        self._file.close()
