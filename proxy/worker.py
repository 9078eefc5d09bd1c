"""What one of several processes is told by its supervisor, and how these processes speak.

The descriptors were opened by the supervisor and are inherited: that of the lock on the spool's
file, those of the sockets that are listened on, and both ends of a pipe for each worker, by which
the others wake it. What the supervisor made once outlives any worker, so that one started anew
takes the place of the one before.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from proxy.config import Config

#: The exit code of a worker whose disk failed.
DISK_FAILED = os.EX_IOERR
#: Said through `Worker.report`; anything else is why it could not start.
READY = b"ready"


class Worker(msgspec.Struct, frozen=True):
    """One of `count` processes. `pipes` holds reading and writing end for each, by index; into
    `heartbeat` it writes that it is alive (`proxy.heartbeat`).
    """

    index: int
    count: int
    lock: int
    sockets: tuple[int, ...]
    pipes: tuple[tuple[int, int], ...]
    report: int
    heartbeat: int

    def descriptors(self) -> tuple[int, ...]:
        """All that it inherits."""
        ends = (end for pipe in self.pipes for end in pipe)
        return (self.lock, *self.sockets, *ends, self.report, self.heartbeat)

    def keep_to_itself(self) -> None:
        """So that no program which a plugin starts holds the port, or the lock."""
        for descriptor in self.descriptors():
            os.set_inheritable(descriptor, False)  # noqa: FBT003  it takes no keyword

    def open_lock(self) -> IO[str]:
        return os.fdopen(self.lock, "w")

    def open_sockets(self) -> list[socket.socket]:
        return [socket.socket(fileno=descriptor) for descriptor in self.sockets]

    @property
    def woken(self) -> int:
        """The descriptor that becomes readable when another worker has news for this one."""
        return self.pipes[self.index][0]

    def wake(self, index: int) -> None:
        """Tells another worker that there is news for it."""
        with suppress(BlockingIOError):  # a full pipe says the same
            os.write(self.pipes[index][1], b"\0")

    def heard(self) -> None:
        """Takes note of what woke it; all that came until now was one piece of news."""
        with suppress(BlockingIOError):
            os.read(self.woken, 65_536)

    def say(self, what: bytes) -> None:
        """To the supervisor, once: READY, or why it cannot start."""
        with os.fdopen(self.report, "wb") as report:
            report.write(what)


class Start(msgspec.Struct, frozen=True):
    """All that a worker is to know, the same for each whatever becomes of the files meanwhile.

    It goes through a pipe, since others can see a program's arguments, and the config has secrets.
    """

    config: Config
    base: Path
    sandbox: bool
    worker: Worker


def open_pipes(count: int) -> Sequence[tuple[int, int]]:
    """A pipe for each worker, neither end of which is ever waited for."""
    pipes = [os.pipe() for _ in range(count)]
    for descriptor in (end for pipe in pipes for end in pipe):
        os.set_blocking(descriptor, False)
    return pipes


async def hear(descriptor: int) -> bytes:
    """What a worker says at the other end of its `report`; nothing if it dies before."""
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb")
    )
    try:
        return await stream.read()
    finally:
        transport.close()
