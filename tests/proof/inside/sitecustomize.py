"""Faults put into a process from outside: Python imports this at its start where PYTHONPATH names
the folder (https://docs.python.org/3/library/site.html#module-sitecustomize).

The environment variable FAULTS says which, as JSON:

    {"disk": {"at": "write|sync|truncate|delete", "call": 7, "does": "..."}}
        the n-th such call of this process, and what it does: "die before" or "die after" it,
        "die amid" it, half of it done, or "fail" it and all later ones
    {"full": PATH}     while the file is there, no other file grows
    {"clock": PATH}    the seconds to add to the time of day
    {"names": PATH}    while the file is there, no name is resolved
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

FAULTS: dict[str, Any] = json.loads(os.environ.get("FAULTS", "{}"))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def install_disk(fault: dict[str, Any], full: Path | None) -> object:
    """SQLite's files go through it from now on, as long as the answer is kept."""
    import apsw  # noqa: PLC0415  only where it is asked for: it takes its time

    calls = 0

    def faulty(at: str, call: Any, *given: Any, half: Any = None) -> Any:
        nonlocal calls
        if at != fault.get("at"):
            return call(*given)
        calls += 1
        if calls == fault["call"] and fault["does"] != "fail":
            if fault["does"] == "die after":
                call(*given)
            elif fault["does"] == "die amid" and half:
                call(*half)
            die()
        if calls >= fault["call"]:
            raise apsw.IOError(f"{at} {calls} fails")
        return call(*given)

    class Disk(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("faulty", "unix", makedefault=True)

        def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite's name
            return File("unix", name, flags)

        def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802  SQLite's name
            faulty("delete", super().xDelete, name, syncdir)

    class File(apsw.VFSFile):
        def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  SQLite's name
            if full and full.exists() and offset + len(data) > self.xFileSize():
                raise apsw.FullError("no space left on device")
            half = (data[: len(data) // 2], offset)
            faulty("write", super().xWrite, data, offset, half=half)

        def xSync(self, flags: int) -> None:  # noqa: N802  SQLite's name
            faulty("sync", super().xSync, flags)

        def xTruncate(self, size: int) -> None:  # noqa: N802  SQLite's name
            faulty("truncate", super().xTruncate, size)

    return Disk()


def install_clock(path: Path) -> None:
    true_time = time.time

    def shifted() -> float:
        return true_time() + (float(path.read_text() or 0) if path.exists() else 0.0)

    time.time = shifted


def install_names(path: Path) -> None:
    import aiohttp  # noqa: PLC0415  only where it is asked for: it takes its time

    resolve = aiohttp.ThreadedResolver.resolve

    async def failing(self: aiohttp.ThreadedResolver, *given: Any, **more: Any) -> Any:
        if os.path.exists(path):  # noqa: ASYNC240, PTH110  a test may hold it up so long
            raise OSError("temporary failure in name resolution")
        return await resolve(self, *given, **more)

    aiohttp.ThreadedResolver.resolve = failing  # type: ignore[method-assign]  # a patch


if "disk" in FAULTS or "full" in FAULTS:
    disk = install_disk(FAULTS.get("disk", {}), Path(FAULTS["full"]) if "full" in FAULTS else None)
if "clock" in FAULTS:
    install_clock(Path(FAULTS["clock"]))
if "names" in FAULTS:
    install_names(Path(FAULTS["names"]))
