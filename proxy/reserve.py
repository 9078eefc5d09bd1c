"""Room on the disk that is kept for results: a file beside the spool, emptied on a full disk.

What was already sent must be written down, or it is sent again after a crash. So `<path>.reserve`
occupies some room while all is well, and gives it up when a result does not fit any more. As long
as it is empty nothing is taken in that adds to the spool: events would eat the room up. The file
is what all processes go by, and is changed by who has the turn to write.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import Final

import structlog

LOOK_SECONDS: Final = 1.0  # between looks whether there is room again
#: So many times its size must be free, or what is let in then would fill the disk at once.
ROOM: Final = 2

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
#: Of file systems that cannot allocate; musl says so, glibc writes to every block instead
#: (https://man7.org/linux/man-pages/man3/posix_fallocate.3.html).
_CANNOT: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_log = structlog.get_logger(room="database")


class Reserve:
    """That of the spool at `path`; `size` 0 is none, and then nothing is ever refused for it."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = _beside(path)
        self._name = os.fspath(self._path)
        self._size = size
        self._look_at = 0.0

    def prepare(self) -> None:
        """Makes it at the start of a process, if there is room."""
        if not self._size:
            self._remove()
        # One that is whole is allocated again: a copy of it may have holes, which reserve nothing.
        elif not self._make(even_if_scarce=self.is_whole()):
            _log.warning("disk_full")

    def stands(self) -> bool:
        """Whether it is there, or can be made anew, or cannot be had on this file system at all."""
        if self.is_whole():
            return True
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        if made := self._make():
            _log.info("disk_has_room")
        return made

    def give_up(self) -> bool:
        """Frees its room; False if there was none."""
        if not self._size or not self.is_whole() or not self._empty():
            return False
        self._look_at = time.monotonic() + LOOK_SECONDS
        _log.warning("disk_full")
        return True

    def is_whole(self) -> bool:
        """A process that ended while it made the file left a shorter one."""
        if not self._size:
            return True
        try:
            return os.stat(self._name).st_size >= self._size  # noqa: PTH116  half the time
        except OSError:
            return False

    def _make(self, *, even_if_scarce: bool = False) -> bool:
        try:
            free = os.statvfs(self._path.parent)
            if not even_if_scarce and free.f_bavail * free.f_frsize < ROOM * self._size:
                self._empty()  # half of one is of no use
                return False
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                _allocate(descriptor, self._size)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._empty()
            if error.errno in _NO_ROOM:  # a quota, perhaps, of which statvfs does not know
                return False
            # A limit for the size of files, say. Better none than never to take anything in.
            _log.warning("no_reserve", error=str(error))
            self._size = 0
            self._remove()
        return True

    def _empty(self) -> bool:
        """Not removed: the room of a file that a back-up has open would not be free then."""
        try:
            os.truncate(self._path, 0)
        except OSError:
            return False
        return True

    def _remove(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("no_reserve", error=str(error))


def is_given_up(path: Path) -> bool:
    """Whether the reserve of the spool at `path` is in use: for programs beside the proxy, which
    make none.
    """
    try:
        return _beside(path).stat().st_size == 0
    except OSError:
        return False


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".reserve")


def _allocate(descriptor: int, size: int) -> None:
    """A file that merely says that it is so long reserves nothing."""
    if sys.platform != "darwin":  # which has no such call
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        else:
            return
    noise = os.urandom(1 << 20)  # zeros are compressed to nothing by some file systems
    written = os.fstat(descriptor).st_size
    while written < size:
        written += os.pwrite(descriptor, noise[: size - written], written)
    os.fsync(descriptor)
