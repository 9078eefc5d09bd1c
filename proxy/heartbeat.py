"""A worker says once a second that its event loop runs, so that its supervisor can end one that
hangs: it may have the turn to write, for which all the others wait.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Final

from proxy.clock import Clock

BEAT_SECONDS: Final = 1.0
#: Far more than the event loop is ever busy with one thing, on a slow disk as well.
SILENT_SECONDS: Final = 30.0


def open_heartbeat() -> tuple[int, int]:
    """The reading and the writing end of a pipe, neither of which is ever waited for."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


async def beat(descriptor: int) -> None:
    """Until it is cancelled."""
    while True:
        with suppress(OSError):  # a full pipe says the same; a supervisor that is gone ends us
            os.write(descriptor, b"\0")
        await asyncio.sleep(BEAT_SECONDS)


async def falls_silent(descriptor: int, seconds: float, clock: Clock, stop: asyncio.Event) -> bool:
    """Returns once nothing was heard for so many seconds (True), or when `stop` is set."""
    silence = Silence(clock.steady())
    while not stop.is_set():
        await clock.wait(stop, BEAT_SECONDS)
        if silence.after_look(clock.steady(), heard=_read(descriptor)) >= seconds:
            return not stop.is_set()
    return False


def _read(descriptor: int) -> bool:
    """Whether anything came since the last time."""
    try:
        return bool(os.read(descriptor, 65_536))
    except BlockingIOError:
        return False


class Silence:
    """How long nothing was heard, of the time in which whoever listens ran: one that was stopped
    for an hour, together with all others maybe, has not listened for an hour.
    """

    def __init__(self, now: float) -> None:
        """`now` is in seconds of a steady clock."""
        self._looked_at = now
        self._seconds = 0.0

    def after_look(self, now: float, *, heard: bool) -> float:
        """Its seconds. To be called every BEAT_SECONDS."""
        listened = min(now - self._looked_at, 2 * BEAT_SECONDS)
        self._looked_at = now
        self._seconds = 0.0 if heard else self._seconds + listened
        return self._seconds
