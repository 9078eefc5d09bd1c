"""The load: connections that are kept, one request at a time on each, over bare sockets.

Either as fast as it is answered, or at a rate whatever the answers do: what then waits for a
connection counts as waiting from the moment at which it was due.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from typing import Final, cast

import msgspec

from bench.child import Commands
from bench.messages import bodies, head

_LENGTH: Final = b"content-length: "


class Sent(msgspec.Struct):
    """What came of it; moments by time.monotonic. `accepted` messages were in `answered` requests
    that got a 200; `due` is, at a rate, when each message was to be sent.
    """

    began: float
    ended: float
    answered: int
    accepted: int
    refused: dict[int, int]
    broken: int  # connections that ended without an answer, or could not be made
    due: list[float]
    took: list[float]  # seconds, at a rate: from when it was due to the answer


class _Connection(asyncio.Protocol):
    """Calls `load` with each status; None: it has ended."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._rest = data
            return
        begin = data[:end].lower().find(_LENGTH)
        length = 0
        if begin >= 0:
            begin += len(_LENGTH)
            length = int(data[begin : data.find(b"\r", begin)])
        if len(data) < end + length:
            self._rest = data
            return
        self._rest = b""
        self._load.answered(self, int(data[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._load.lost(self)


class Load:
    """One lot of requests."""

    def __init__(self, head: bytes, requests: Iterator[bytes], number: int, batch: int) -> None:
        """`number` messages, `batch` in each request."""
        self._head = head
        self._requests = requests
        self._left, self._batch = number, batch or 1
        self._idle: deque[_Connection] = deque()
        self._queue: deque[float] = deque()  # due, for want of a connection
        self._under_way: dict[_Connection, tuple[int, float]] = {}
        self._paced = self._stopped = False
        self._ends = math.inf
        self._done = asyncio.get_running_loop().create_future()
        self._all_due = False
        self.sent = Sent(0.0, 0.0, 0, 0, {}, 0, [], [])
        self._refused: Counter[int] = Counter()

    async def connect(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        made = [
            loop.create_connection(lambda: _Connection(self), "127.0.0.1", port)
            for _ in range(connections)
        ]
        self._idle.extend(protocol for _, protocol in await asyncio.gather(*made))

    async def fast(self, seconds: float) -> Sent:
        """All of it, or for so long, as fast as it is answered."""
        self.sent.began = time.monotonic()
        self._ends = self.sent.began + seconds
        self._all_due = True
        while self._idle and self._send(self._idle.popleft(), 0.0):
            pass
        return await self._finish()

    async def paced(self, rate: float, seconds: float) -> Sent:
        """Requests at a steady rate for so long, until there are none left, or until stopped."""
        self._paced = True
        self.sent.began = began = time.monotonic()
        number = min(int(rate * seconds), self._left)
        for each in range(number):
            due = began + each / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)  # a little early or late, by the loop's millisecond
            if self._stopped or self._done.done():
                break
            self.sent.due.append(due)
            if self._idle:
                self._send(self._idle.popleft(), due)
            else:
                self._queue.append(due)
        self._all_due = True
        self._look()
        return await self._finish()

    def stop(self) -> None:
        """No more requests; those sent are waited for."""
        self._stopped = True
        self._ends = 0.0

    def _send(self, connection: _Connection, due: float) -> bool:
        late = not self._paced and time.monotonic() > self._ends
        body = None if late else next(self._requests, None)
        if body is None:
            self._idle.append(connection)
            self._look()
            return False
        self._under_way[connection] = min(self._batch, self._left), due
        self._left -= self._batch
        connection.transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        return True

    def answered(self, connection: _Connection, status: int) -> None:
        messages, due = self._under_way.pop(connection)
        if status == 200:
            self.sent.answered += 1
            self.sent.accepted += messages
        else:
            self._refused[status] += 1
        if self._paced:
            self.sent.took.append(time.monotonic() - due)
        if self._queue:
            self._send(connection, self._queue.popleft())
        elif self._paced:
            self._idle.append(connection)
            self._look()
        else:
            self._send(connection, 0.0)

    def lost(self, connection: _Connection) -> None:
        if self._done.done():
            return
        self.sent.broken += 1
        self._under_way.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._idle and not self._under_way:
            self._done.set_result(None)  # nobody is left to send
        self._look()

    def _look(self) -> None:
        if self._all_due and not self._under_way and not self._queue and not self._done.done():
            self._done.set_result(None)

    async def _finish(self) -> Sent:
        await self._done
        self.sent.ended = time.monotonic()
        self.sent.refused = dict(self._refused)
        for connection in self._idle:
            connection.transport.abort()
        return self.sent


async def send(
    loads: list[Load],
    port: int,
    path: str,
    *,
    kind: str = "tracks",
    first: int = 0,
    number: int,
    batch: int = 0,
    connections: int,
    users: int = 1,
    gzipped: bool = False,
    rate: float = 0.0,
    seconds: float = math.inf,
) -> Sent:
    """Posts messages from number `first` on, for `seconds` at most; at `rate` requests a second if
    that is given.
    """
    made = bodies(kind, first, number, batch, users=users, gzipped=gzipped)
    if gzipped:
        made = iter(list(made))  # before the clock starts: it takes far longer than to send it
    load = Load(head(path, gzipped=gzipped), made, number, batch)
    await load.connect(port, connections)
    loads.append(load)
    try:
        return await (load.paced(rate, seconds) if rate else load.fast(seconds))
    finally:
        loads.remove(load)


def commands() -> Commands:
    loads: list[Load] = []

    async def stop() -> None:
        """Ends what is sent at a rate."""
        for load in loads:
            load.stop()

    return {"send": partial(send, loads), "stop": stop}
