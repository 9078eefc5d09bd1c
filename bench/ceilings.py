"""What the tools that the proxy is made of can do on this machine with nothing around them; a
helper process.

Each is what a careful programmer would write, not less: a ratio against a bad ceiling says nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from pathlib import Path
from typing import Final

import aiohttp
import apsw
import msgspec
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from bench.child import Commands
from bench.mapping import outgoing
from proxy.decode import Wire

CONNECTIONS: Final = 100
DIFFERENT: Final = 100  # requests sent in turn
RECORD_BYTES: Final = 900

_decode = msgspec.json.Decoder(Wire).decode
_kept: list[web.AppRunner] = []


async def handler() -> int:
    """Serves an application that reads a message, decodes it and answers; its port."""

    async def handle(request: web.Request) -> web.Response:
        _decode(await request.read())
        return web.Response(body=b'{"success": true}', content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/track", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _kept.append(runner)
    return int(runner.addresses[0][1])


async def client(url: str, seconds: float) -> float:
    """How many of the proxy's own requests aiohttp's client sends in a second, each answer read."""
    ready = [
        (CIMultiDict(each.headers), each.body) for each in outgoing(DIFFERENT)
    ]  # what is sent as it stands
    target = URL(url)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=10),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    numbers = itertools.count()

    async def send_in_turn() -> None:
        while time.perf_counter() < began + seconds:
            each = next(numbers)
            headers, body = ready[each % DIFFERENT]
            async with session.post(
                target, headers=headers, data=body, allow_redirects=False
            ) as answer:
                await answer.read()
                assert answer.status == 200

    async with session:
        await send_one_each(session, target)
        began = time.perf_counter()
        await asyncio.gather(*(send_in_turn() for _ in range(CONNECTIONS)))
        return next(numbers) / (time.perf_counter() - began)


async def send_one_each(session: aiohttp.ClientSession, target: URL) -> None:
    """So that all connections stand before the clock starts."""

    async def send() -> None:
        async with session.post(target, data=b"{}") as answer:
            await answer.read()

    await asyncio.gather(*(send() for _ in range(CONNECTIONS)))


async def append(folder: str, batch: int, seconds: float) -> float:
    """How many records are on the disk in a second, `batch` in each commit."""
    path = Path(folder) / f"append-{batch}.db"
    connection = apsw.Connection(str(path))
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, record BLOB NOT NULL)")
        cursor, records = connection.cursor(), [(os.urandom(RECORD_BYTES),) for _ in range(batch)]
        began, commits = time.perf_counter(), 0
        while time.perf_counter() < began + seconds:
            commits += 1
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany("INSERT INTO log (record) VALUES (?)", records)
            cursor.execute("COMMIT")
        return commits * batch / (time.perf_counter() - began)
    finally:
        connection.close()
        for file in path.parent.glob(path.name + "*"):
            file.unlink()


def commands() -> Commands:
    return {"handler": handler, "client": client, "append": append}
