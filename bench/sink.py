"""A stand-in for Kochava that is no limit itself: HTTP/1.1 read by hand, on uvloop.

It looks at what comes only as far as it must to count it; the sandbox is the one that is strict.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, cast

from bench.child import Commands

#: Both are paths of the real ones, so that the same config serves.
TRACK_PATH: Final = "/track/json"
LINK_PATH: Final = "/v1/cpi/identityLink.php"

_ANSWER: Final = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


def _answer(status: bytes, body: bytes) -> bytes:
    return _ANSWER % (status, len(body), body)


OK: Final = _answer(b"200 OK", b'{"success":"1"}')
REFUSED: Final = _answer(b"401 Unauthorized", b'{"success":"0"}')
DOWN: Final = _answer(b"503 Service Unavailable", b'{"success":"0"}')

COUNTS: Final = ("delivered", "tracks", "links", "failed")

_LENGTH: Final = b"\r\ncontent-length: "
_ID: Final = b'"id":"'  # among the event_data: the messages of the load carry their number there


class Sink:
    """What all connections have in common."""

    def __init__(self) -> None:
        #: Answered with success: in all, to the track endpoint, to the identity link; and failed.
        self._counts = dict.fromkeys(COUNTS, 0)
        self.answer: Callable[[], bytes] = lambda: OK
        self.latency = 0.0
        #: When each message arrived (time.monotonic), by its number; None: nobody asked for it.
        self.arrivals: dict[str, float] | None = None
        self._waiting: list[tuple[int, str, asyncio.Future[float]]] = []
        self._servers: list[asyncio.Server] = []

    def received(self, request: bytes) -> bytes:
        """Counts a request; its answer."""
        answer = self.answer()
        if answer is not OK:
            self._counts["failed"] += 1
            return answer
        is_link = request.startswith(b"POST /v1/")
        self._counts["delivered"] += 1
        self._counts["links" if is_link else "tracks"] += 1
        if self.arrivals is not None and not is_link:
            begin = request.find(_ID) + len(_ID)
            number = request[begin : request.find(b'"', begin)].decode()
            self.arrivals.setdefault(number, time.monotonic())
        if self._waiting:
            self._look()
        return answer

    def _look(self) -> None:
        for waiting in list(self._waiting):
            number, what, future = waiting
            if self._counts[what] >= number:
                self._waiting.remove(waiting)
                if not future.done():
                    future.set_result(time.monotonic())

    # Commands

    async def listen(self, certificate: str = "", key: str = "") -> int:
        """Serves on a free port, which it answers; by TLS if there is a certificate."""
        tls = None
        if certificate:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate, key)
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", 0, ssl=tls, backlog=1_024
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stops listening."""
        for server in self._servers:
            server.close()

    async def behave(
        self,
        *,
        refuse: bool = False,
        fail_every: int = 0,
        latency: float = 0.0,
        arrivals: bool = False,
    ) -> None:
        """How it answers from now on, counted from nought: 401 to all, 503 to every so manieth."""
        self._counts = dict.fromkeys(COUNTS, 0)
        self._waiting.clear()
        self.latency = latency
        self.arrivals = {} if arrivals else None
        turn = 0

        def in_turn() -> bytes:
            nonlocal turn
            turn += 1
            return OK if turn % fail_every else DOWN

        self.answer = in_turn if fail_every else lambda: REFUSED if refuse else OK

    async def counts(self) -> dict[str, int]:
        return self._counts

    async def reached(self, number: int, what: str = "delivered") -> float:
        """The moment (time.monotonic) at which a count has come so far."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, what, future))
        self._look()
        return await future

    async def arrived(self) -> dict[str, float]:
        """When each message came first."""
        return self.arrivals or {}


class _Connection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        while data:
            head = data.find(b"\r\n\r\n")
            length = _length(data, head) if head >= 0 else 0
            end = head + 4 + length
            if head < 0 or len(data) < end:
                self._rest = data
                return
            answer = self._sink.received(data[:end] if len(data) > end else data)
            data = data[end:]
            if self._sink.latency:
                loop = asyncio.get_running_loop()
                loop.call_later(self._sink.latency, self._transport.write, answer)
            else:
                self._transport.write(answer)


def _length(data: bytes, head: int) -> int:
    """Of the body, by the headers before `head`."""
    begin = data.find(b"\r\nContent-Length: ", 0, head)
    if begin < 0:  # spelt otherwise, or not there
        begin = data[:head].lower().find(_LENGTH)
        if begin < 0:
            return 0
    begin += len(_LENGTH)
    return int(data[begin : data.find(b"\r", begin)])


def commands() -> Commands:
    sink = Sink()
    names: tuple[Any, ...] = (sink.listen, sink.behave, sink.counts, sink.reached, sink.arrived)
    return {each.__name__: each for each in names}
