"""What each worker knows of its apps, put into the one file, where every other process can read it.

A row is worth nothing once its process has gone, or has not written for a while.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import apsw
import msgspec
import structlog

from proxy.appstate import WorkerState
from proxy.clock import Clock
from proxy.errors import StorageError
from proxy.writes import Job

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS worker_states (
    worker INTEGER PRIMARY KEY,
    pid    INTEGER NOT NULL,
    at     REAL NOT NULL,
    state  BLOB NOT NULL                           -- WorkerState as JSON
);
"""

EVERY_SECONDS: Final = 1.0  # while something changes
ANYWAY_SECONDS: Final = 10.0
STALE_SECONDS: Final = 30.0

#: As `proxy.database.Database.write` and `read`.
Write = Callable[[Job[None]], asyncio.Future[None]]
Read = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

_decoder = msgspec.json.Decoder(WorkerState)
_log = structlog.get_logger(room="observe")


class Publisher:
    """Writes what `states` says, once a second at most. `run` ends after `stop`."""

    def __init__(self, write: Write, states: Callable[[], WorkerState], clock: Clock) -> None:
        self._write = write
        self._states = states
        self._clock = clock
        self._stop = asyncio.Event()
        self._last: WorkerState | None = None

    async def run(self) -> None:
        """Publishes until stopped, then takes back what it published."""
        try:
            while not self._stop.is_set():
                await self._publish()
                await self._clock.wait(self._stop, EVERY_SECONDS)
            if self._last is not None:
                await self._take_back(self._last)
        except Exception:  # noqa: BLE001  delivery goes on without being watched
            _log.exception("states_not_published")

    def stop(self) -> None:
        self._stop.set()

    async def _publish(self) -> None:
        state, last = self._states(), self._last
        if last and 0 <= state.at - last.at < ANYWAY_SECONDS and state == _as_of(last, state.at):
            return
        row = (state.worker, state.pid, state.at, msgspec.json.encode(state))

        def job(cursor: apsw.Cursor) -> None:
            cursor.execute("REPLACE INTO worker_states VALUES (?, ?, ?, ?)", row)

        with suppress(StorageError):  # a full disk: others say so, and the next try is soon
            await self._write(job)
            self._last = state

    async def _take_back(self, state: WorkerState) -> None:
        def job(cursor: apsw.Cursor) -> None:
            row = (state.worker, state.pid)
            cursor.execute("DELETE FROM worker_states WHERE worker = ? AND pid = ?", row)

        with suppress(StorageError):  # the end of the process says the same
            await self._write(job)


def _as_of(state: WorkerState, at: float) -> WorkerState:
    return msgspec.structs.replace(state, at=at)


def read_states(read: Read, now: float) -> list[WorkerState]:
    """The workers that run, by index; none if the file is of a version that published nothing.
    `now` is in epoch seconds.

    Raises:
        What `read` raises.

    """
    if not read("SELECT 1 FROM sqlite_master WHERE name = 'worker_states'", ()):
        return []
    found = []
    rows = read("SELECT pid, state FROM worker_states WHERE at >= ? ORDER BY worker",
                (now - STALE_SECONDS,))  # fmt: skip
    for pid, state in rows:
        with suppress(msgspec.DecodeError):  # of another version
            if _runs(pid):
                found.append(_decoder.decode(state))
    return found


def _runs(pid: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
