"""Long work in slices, so that nobody else at the door waits for it.

One body of half a megabyte can hold 250,000 messages or brackets, and looking through those takes
longer than most requests from beginning to end. Work that may be long is written as a generator
that yields after every slice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
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
LONG_BYTES: Final = 16 * 1024  # of a body, from which on it is more than short work
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
        self._alone = asyncio.Lock()
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

    @asynccontextmanager
    async def alone(self, size: int) -> AsyncIterator[None]:
        """Around all that is done with a body of so many bytes: while there is short work, long
        ones come one after the other. Else each of them would have its slice in every turn of the
        loop, and short work needs many turns.
        """
        if size < LONG_BYTES or not self._short_is_expected:
            yield
            return
        async with self._alone:
            yield

    def short(self) -> None:
        """There was short work: for a while, long work makes room for more of it."""
        self._short_until = self._clock.steady() + SHORT_SECONDS

    async def breathe(self) -> None:
        """Between two slices: lets others go on. While there is short work, for long enough that
        what comes meanwhile finds the process idle.
        """
        await asyncio.sleep(self._pause if self._short_is_expected else 0)

    @property
    def _short_is_expected(self) -> bool:
        return self._clock.steady() < self._short_until
