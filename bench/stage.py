"""What the rows have in common: helpers, cores, the folder, and how delivering is measured."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.child import Child
from bench.load import Sent
from bench.proxyprocess import ProxyFailed, ProxyProcess, running
from bench.settings import table
from bench.sink import LINK_PATH, TRACK_PATH
from bench.sizes import Sizes

BATCH: Final = 100
BATCH_CONNECTIONS: Final = 8
SINGLE_CONNECTIONS: Final = 64
FIRST: Final = 10_000_000  # numbers below are the users' that are learnt for an audience
MANY: Final = (
    10_000_000  # messages; more than can be sent in the seconds that sending is bounded by
)


class Cores(msgspec.Struct, frozen=True):
    """Who runs where: what is measured has the first core to itself, if there are two."""

    every: tuple[int, ...]

    @property
    def proxy(self) -> tuple[int, ...]:
        return self.every[:1]

    @property
    def sink(self) -> tuple[int, ...]:
        return self.every[1:2] or self.every

    @property
    def load(self) -> tuple[int, ...]:
        return self.every[2:3] or self.sink


def find_cores() -> Cores:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return Cores(tuple(sorted(os.sched_getaffinity(0))))
    return Cores(tuple(range(os.cpu_count() or 1)))


class Delivered(msgspec.Struct, frozen=True):
    """Of `events` that were sent and came to the sink."""

    events: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """Of the proxy, an event."""
        return self.cpu_seconds / self.events * 1e6


class Stage:
    """One run. `figures` are those of the round so far."""

    def __init__(
        self, folder: Path, cores: Cores, sizes: Sizes, sink: Child, load: Child, sink_port: int
    ) -> None:
        self.folder = folder
        self.cores = cores
        self.sizes = sizes
        self.sink = sink
        self.load = load
        self.sink_url = f"http://127.0.0.1:{sink_port}"
        self.figures: dict[str, float] = {}
        self.kept: dict[str, Path] = {}  # folders of proxies, for the rounds to come
        self.notes: dict[str, str] = {}  # what was scaled down, by row
        self.once_seconds = 0.0  # of this round, for what later rounds need not do
        self._next = FIRST
        self._folders = 0

    def numbers(self, number: int) -> int:
        """The first of so many numbers of messages that no other load of this run has."""
        first, self._next = self._next, self._next + number
        return first

    def new_folder(self) -> Path:
        self._folders += 1
        folder = self.folder / f"proxy-{self._folders}"
        folder.mkdir()
        return folder

    @contextmanager
    def once(self) -> Iterator[None]:
        """Around what is done in the first round only."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.once_seconds += time.monotonic() - began

    @asynccontextmanager
    async def proxy(
        self,
        *,
        folder: Path | None = None,
        sink_url: str = "",
        pinned: bool = True,
        variables: dict[str, str] | None = None,
        **tables: dict[str, Any],
    ) -> AsyncIterator[ProxyProcess]:
        """A proxy that sends to the sink; its files are removed unless `folder` is given."""
        settings = table((sink_url or self.sink_url) + TRACK_PATH, LINK_PATH, **tables)
        cores = self.cores.proxy if pinned else self.cores.every
        place = folder or self.new_folder()
        try:
            async with running(place, settings, cores, **(variables or {})) as proxy:
                yield proxy
        finally:
            if folder is None:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def behave(self, **how: Any) -> None:
        """Tells the sink how to answer; its counts begin anew."""
        await self.sink.call("behave", **how)

    async def send(
        self,
        port: int,
        number: int = MANY,
        *,
        batch: int = BATCH,
        first: int | None = None,
        **more: Any,
    ) -> Sent:
        """Puts load on a port, as batches or (`batch` 0) as single messages; so many of them, or
        (`seconds`) for so long.
        """
        given: dict[str, Any] = {
            "path": "/v1/batch" if batch else "/v1/track",
            "first": self.numbers(number) if first is None else first,
            "number": number,
            "batch": batch,
            "connections": BATCH_CONNECTIONS if batch else SINGLE_CONNECTIONS,
            **more,
        }
        return msgspec.convert(await self.load.call("send", port=port, **given), Sent, strict=False)

    async def warm(self, proxy: ProxyProcess, **more: Any) -> int:
        """Some events first: connections, caches, and the number in flight find their size. How
        many more take the seconds that delivering is measured for.
        """
        done = await self.deliver(proxy, self.sizes.warm, **more)
        return max(self.sizes.warm, int(done.per_second * self.sizes.deliver_seconds))

    async def deliver(
        self, proxy: ProxyProcess, number: int, *, until: float = 1.0, **more: Any
    ) -> Delivered:
        """Sends batches until that part of them has been delivered, and says what it took."""
        before = int((await self.sink.call("counts"))["delivered"])
        used = proxy.cpu_seconds()
        # At once: with a backlog there may be that many before all is sent.
        reached = asyncio.create_task(self._reached(before + int(number * until)))
        try:
            sent = await self.send(proxy.port, number, **more)
            if sent.accepted < number:
                raise ProxyFailed(f"{number - sent.accepted} events were refused: {sent.refused}")
            moment = await reached
        finally:
            reached.cancel()
        events = int(number * until)
        return Delivered(events, moment - sent.began, proxy.cpu_seconds() - used)

    async def _reached(self, number: int) -> float:
        return float(await self.sink.call("reached", number=number))


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
