"""What HTTP clients are tried on: servers that answer raw bytes, over TLS too, and a proxy."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from proxy.deliver.transport import Answer, Reply, Transport
from proxy.states import Outgoing

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"success":"1"}'
RESET = b"(the connection is reset)"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers raw bytes and counts connections. None means: never answer; b"": close. After those
    of `last` a connection is closed, with `close` after any.
    """

    last: Collection[bytes] = ()

    def __init__(self, *answers: bytes | None, close: bool = False) -> None:
        self.answers = list(answers)
        self.close = close
        self.connections = 0
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            self.asked.set()
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is None:
                await asyncio.Event().wait()
            elif answer == RESET:
                reset(writer)
                return
            else:
                writer.write(answer)
                await writer.drain()
            if self.close or not answer or answer in self.last:
                return

    def header(self, name: str, request: int = 0) -> str | None:
        """Of a request that came."""
        lines = self.requests[request].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        found = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
        return found.get(name.lower())


class Tunnel:
    """A proxy for CONNECT, which answers `status`."""

    def __init__(self, status: str = "200 Connected") -> None:
        self.status = status
        self.heads: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if not self.status.startswith("200"):
            return
        port = int(head.split()[1].rpartition(":")[2])
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, inner_writer))
                group.create_task(_copy(inner_reader, writer))
        finally:
            inner_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST in place of FIN."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port of 127.0.0.1 where `serve` is called for each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(accepted(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    async with listening(server.serve) as port:
        server.url = f"http://127.0.0.1:{port}/track/json"
        yield server


async def send(transport: Transport, outgoing: Outgoing) -> Reply:
    """The answer to one request; raises what stood in its way. Cancelled, it gives it up."""
    told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    give_up = transport.begin(outgoing, told.set_result)  # which may not be called twice, or late
    try:
        answer = await asyncio.shield(told)
    except asyncio.CancelledError:
        if not told.done():
            give_up()
        raise
    if isinstance(answer, BaseException):
        raise answer
    return answer
