"""A Kochava that can misbehave below HTTP as well as above it, and writes down all it is asked.

Just enough of HTTP/1.1 to be called by a client that keeps its connections.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from tests.end_to_end.processes import SUCCESS
from tests.proof.faults import GOOD, Answer, Plan, always
from tests.proof.messages import read_content
from tests.proof.oracle import Request

REFUSED = b'{"success":"0","error":"refused"}'
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Sink:
    """Answers as `plan` says; refuses for good what is to be refused."""

    def __init__(self) -> None:
        self.plan: Plan = always(GOOD)
        self.requests: list[Request] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def succeeded(self) -> set[str]:
        return {request.id for request in self.requests if request.success}

    async def up(self) -> None:
        """Listens; at the same port as before, if it did."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=2**20, backlog=1_000
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Connections are refused, those that stand are reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            _reset(writer)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection can be used for another."""
        head = await reader.readuntil(b"\r\n\r\n")
        began = time.monotonic()
        if self.plan.resets_unread():
            _reset(writer)
            return False
        length = _LENGTH.search(head)
        assert length, head
        body: dict[str, Any] = msgspec.json.decode(await reader.readexactly(int(length[1])))
        id_, content = read_content(body)
        request = Request(id_, str(body["kochava_app_id"]), content, began)
        self.requests.append(request)
        answer = self.plan.answer(request)
        request.answer = answer.name
        try:
            if not await _heard(reader, answer.delay):
                return False
        finally:
            request.ended = time.monotonic()
        return await self._write(writer, request, answer, is_link="device_id" in body)

    async def _write(
        self, writer: asyncio.StreamWriter, request: Request, answer: Answer, *, is_link: bool
    ) -> bool:
        if answer.is_good:
            refused = request.id.startswith("refused")
            request.final, request.success = True, not refused
            answer = Answer(answer.name, 200, REFUSED if refused else SUCCESS)
        elif answer.is_enough_for_links and is_link:
            request.final = request.success = True
        raw = answer.raw()
        writer.write(raw if answer.cut is None else raw[: answer.cut])
        await writer.drain()
        if answer.cut is not None:
            _reset(writer)
        return not answer.ends


async def _heard(reader: asyncio.StreamReader, seconds: float | None) -> bool:
    """Waits (None: for ever), and says whether the caller is still there then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await reader.read(1)  # a caller that waits for its answer sends nothing but its end
            return False
    return not reader.at_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST, whatever was not read or sent."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def listening() -> AsyncIterator[Sink]:
    sink = Sink()
    await sink.up()
    try:
        yield sink
    finally:
        await sink.down()
