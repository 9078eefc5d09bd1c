"""A door: the real handlers on a real socket, in front of a real spool."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import BaseTestServer, TestClient

from proxy.app import build_runner
from proxy.config import Config
from proxy.database import Database, open_for_reading
from proxy.event import Facts
from proxy.receive import door as receive
from proxy.spool.base import Counts
from proxy.spool.ledger import balances, read_counts
from proxy.spool.schema import SCHEMA
from proxy.spool.sqlite import SqliteSpool
from tests.support import NOW, FakeClock

KEY = "wk_acme"


class _Server(BaseTestServer):
    """Runs exactly what `App` runs, on a port that the system chooses."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door

    async def _make_runner(self, **_: Any) -> web.AppRunner:
        return build_runner(self._door.config, self._door.door, lambda: self._door.not_ready)


class Door:
    """What tests do at the door, and what they may look at behind it."""

    client: TestClient[Any, Any]

    def __init__(self, config: Config, path: Path, clock: FakeClock) -> None:
        self.not_ready: str | None = None
        self.database = Database(path, (SCHEMA,))
        self.config = config
        self.spool = SqliteSpool(self.database, clock, 86_400)
        self.door = receive.Door(config, self.spool, clock)
        self._disk = open_for_reading(path)

    async def post(
        self, path: str, body: Any = b"", *, key: str | None = KEY, **headers: str
    ) -> ClientResponse:
        """Posts bytes as they are, anything else as JSON; `key` as Basic user name."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            names["Authorization"] = basic(f"{key}:")
        return await self.client.post(path, data=data, headers=names)

    async def exchange(self, head: str) -> bytes:
        """The answer to a request whose head is written as it is, its characters as bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.client.port)
        try:
            writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode("latin-1"))
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()

    def counts(self, source: str = "acme") -> Counts:
        """The ledger as another process sees it, balanced."""
        counts = read_counts(self._disk, NOW).get(source, Counts())
        assert balances(counts)
        return counts

    def raws(self) -> list[bytes]:
        """What was kept, in its order."""
        return [raw for (raw,) in self._disk.execute("SELECT raw FROM events ORDER BY id")]

    def types(self) -> list[tuple[str, str]]:
        """Source and type of what was kept."""
        return list(self._disk.execute("SELECT source, type FROM events ORDER BY id"))

    def facts(self) -> list[Facts]:
        """What was kept beside each message."""
        rows = self._disk.execute("SELECT facts FROM events ORDER BY id")
        return [msgspec.json.decode(facts, type=Facts) for (facts,) in rows]

    async def close(self) -> None:
        self._disk.close()
        await self.database.close()


OpenDoor = Callable[[Config], Awaitable[Door]]


@pytest.fixture
async def open_door(
    tmp_path: Path, clock: FakeClock, aiohttp_client: Any
) -> AsyncIterator[OpenDoor]:
    doors: list[Door] = []

    async def opened(config: Config) -> Door:
        door = Door(config, tmp_path / "spool.db", clock)
        doors.append(door)
        door.client = await aiohttp_client(_Server(door))
        return door

    yield opened
    for door in doors:
        await door.client.close()
        await door.close()


@pytest.fixture
async def door(open_door: OpenDoor, config: Config) -> Door:
    return await open_door(config)


def basic(user: str) -> str:
    """An Authorization header."""
    return "Basic " + base64.b64encode(user.encode()).decode()


def track(message_id: str | None = "m-1", **fields: Any) -> dict[str, Any]:
    """A message that is fine."""
    return {
        "type": "track",
        "event": "Tested",
        "userId": "u-1",
        "messageId": message_id,
        **fields,
    }
