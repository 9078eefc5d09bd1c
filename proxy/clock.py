"""Time and chance as parameters, so that tests neither sleep nor depend on luck."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Epoch seconds; they can be set forwards and back."""

    def steady(self) -> float:
        """Seconds since some moment; they only go forwards."""

    def worked(self) -> float:
        """Seconds for which this thread has kept a processor busy since some moment."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set or `seconds` (None: no bound) have passed."""


class SystemClock:
    """The real time."""

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.monotonic()

    def worked(self) -> float:
        return time.thread_time()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return


class Chance(Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def random(self) -> float:
        """A number in [0, 1)."""


def system_chance() -> Chance:
    """Unpredictable numbers for back-off."""
    return random.SystemRandom()
