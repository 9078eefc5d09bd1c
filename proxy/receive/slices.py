"""Long work in slices, so that nobody else at the door waits for it.

One body of half a megabyte can hold 250,000 messages or brackets, and looking through those takes
longer than most requests from beginning to end. Work that may be long is written as a generator
that yields after every slice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Final, TypeVar, cast

from proxy.clock import Clock

T = TypeVar("T")

#: Yields between its slices, and returns its result.
Sliced = Generator[None, None, T]

#: Bytes in a slice, which are looked through in well under a millisecond.
SLICE_BYTES: Final = 64 * 1024
#: Pieces in a slice, for what goes from piece to piece.
SLICE_PIECES: Final = 1_000
PAUSE_SECONDS: Final = 0.001  # about as long as a slice takes; uvloop's timers are no finer
SHORT_SECONDS: Final = 1.0  # since the last short work, for which the next is expected
#: What a message costs however small it is, as bytes that are looked through meanwhile.
MESSAGE_BYTES: Final = 1_024


def at_once(work: Sliced[T]) -> T:
    """The result, where nobody waits."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast("T", end.value)


class Turns:
    """Runs work beside that of others: the first slice at once, which is all of most requests, the
    rest one work after the other, however many are long.
    """

    def __init__(self, clock: Clock, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._clock = clock
        self._pause = pause_seconds
        self._turn = asyncio.Lock()
        self._short_until = float("-inf")

    async def run(self, work: Sliced[T]) -> T:
        """The result; raises what `work` raises."""
        try:
            next(work)
        except StopIteration as end:
            self.short()
            return cast("T", end.value)
        async with self._turn:
            while True:
                await self.breathe()
                try:
                    next(work)
                except StopIteration as end:
                    return cast("T", end.value)

    def short(self) -> None:
        """There was short work: for a while, long work makes room for more of it."""
        self._short_until = self._clock.steady() + SHORT_SECONDS

    async def breathe(self) -> None:
        """Between two slices: lets others go on. While there is short work, for long enough that
        what comes meanwhile finds the process idle.
        """
        quiet = self._clock.steady() >= self._short_until
        await asyncio.sleep(0 if quiet else self._pause)
