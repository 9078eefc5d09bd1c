"""A small disk of its own, which another program's file can fill up. Only root can mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """`folder` is all of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "foreign"

    def fill(self) -> None:
        """To the last byte."""
        size = self._file.stat().st_size if self._file.exists() else 0
        with self._file.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4_096))
            except OSError:
                assert self.free == 0
        assert self._file.stat().st_size >= size

    def leave(self, size: int) -> None:
        """So many bytes, or up to a page less."""
        os.truncate(self._file, self._file.stat().st_size - size)
        assert size - 4_096 <= self.free <= size + 4_096

    def clear(self) -> None:
        self._file.unlink()

    @property
    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """The test is skipped, and says so, where nothing can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode().strip() or error
        pytest.skip(f"a really full disk needs a mount, which only root may make: {said}")
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: a process that a failed test leaves may have files open in it.
        subprocess.run(["umount", "-l", folder], check=True, timeout=10)
