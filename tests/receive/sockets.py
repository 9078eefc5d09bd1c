"""The door behind its real listener, and clients that write whatever they like to a socket."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy.app import build_runner
from proxy.database import Database, open_for_reading
from proxy.receive.door import BODY_SECONDS, Door
from proxy.receive.listener import IDLE_SECONDS, Listener
from proxy.spool.base import Counts
from proxy.spool.ledger import balances, read_counts
from proxy.spool.schema import SCHEMA
from proxy.spool.sqlite import SqliteSpool
from tests.support import NOW, FakeClock, make_config

PATIENCE = 10.0  # seconds; far more than anything here takes
LIVE = b"GET /health/live HTTP/1.1\r\nHost: proxy\r\n\r\n"

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) [A-Z]")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A listener, and what lies behind it."""

    def __init__(self, listener: Listener, runner: web.AppRunner, database: Database) -> None:
        self.listener = listener
        self.runner = runner
        self.database = database
        self._opened: list[asyncio.StreamWriter] = []

    async def connect(self, tls: ssl.SSLContext | None = None, local: str = "127.0.0.1") -> Streams:
        name = "localhost" if tls else None
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                self.listener.port,
                ssl=tls,
                server_hostname=name,
                local_addr=(local, 0),
            )
        self._opened.append(writer)
        return reader, writer

    async def exchange(self, sent: bytes, tls: ssl.SSLContext | None = None) -> bytes:
        """Everything that comes back until the connection is closed."""
        streams = await self.connect(tls)
        streams[1].write(sent)
        return await rest_of(streams)

    async def hang_up(self) -> None:
        """Ends what clients left open."""
        for writer in self._opened:
            writer.transport.abort()
        await asyncio.gather(
            *(writer.wait_closed() for writer in self._opened), return_exceptions=True
        )

    def counts(self) -> Counts:
        """The ledger as another process sees it, balanced."""
        disk = open_for_reading(self.database.path)
        counts = read_counts(disk, NOW).get("acme", Counts())
        disk.close()
        assert balances(counts)
        return counts


@asynccontextmanager
async def serving(
    folder: Path,
    server: dict[str, Any] | None = None,
    body_seconds: float = BODY_SECONDS,
    idle_seconds: float = IDLE_SECONDS,
) -> AsyncIterator[Served]:
    """All that `App` has in front of the spool."""
    failures: list[dict[str, Any]] = []  # in callbacks, where nobody else would hear of them
    asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
    config = make_config(server={"port": 0, **(server or {})})
    clock = FakeClock()
    database = Database(folder / "spool.db", (SCHEMA,))
    door = Door(config, SqliteSpool(database, clock, 86_400), clock, body_seconds=body_seconds)
    runner = build_runner(config, door, lambda: None, idle_seconds)
    await runner.setup()
    listener = Listener(config.server, folder)
    await listener.start(runner)
    served = Served(listener, runner, database)
    try:
        yield served
    finally:
        await served.hang_up()
        listener.close()
        await runner.cleanup()
        await database.close()
    assert failures == []


async def rest_of(streams: Streams) -> bytes:
    """What comes until the other side closes, which may also cut the connection."""
    got = b""
    async with asyncio.timeout(PATIENCE):
        try:
            while part := await streams[0].read(65_536):
                got += part
        except ConnectionError:
            pass
    return got


async def status_of(streams: Streams, sent: bytes = LIVE) -> int | None:
    """The status of one answer on a connection that stays open; None if it was closed."""
    try:
        streams[1].write(sent)
        async with asyncio.timeout(PATIENCE):
            head = await streams[0].readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await streams[0].readexactly(int(length or 0))
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    return int(head.split()[1])


def statuses(answers: bytes) -> list[int]:
    """Of every answer in what a connection brought."""
    return [int(status) for status in _STATUS.findall(answers)]


def request(body: bytes, *headers: str, path: str = "/v1/track", length: bool = True) -> bytes:
    """A POST of these bytes with these header lines."""
    lines = [f"POST {path} HTTP/1.1", "Host: proxy", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
