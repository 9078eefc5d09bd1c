"""A spool on a real file, with its real writing thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.database import Database
from proxy.errors import StorageBroken
from proxy.spool import schema
from proxy.spool.sqlite import SqliteSpool
from tests.support import FakeClock

DAY = 86_400.0

OpenDatabase = Callable[[Path], Database]


@pytest.fixture
def alarms() -> list[StorageBroken]:
    """What the databases of a test reported as the end of them."""
    return []


@pytest.fixture
async def open_database(alarms: list[StorageBroken]) -> AsyncIterator[OpenDatabase]:
    """Opens a database that the test need not close."""
    opened: list[Database] = []

    def open_(path: Path) -> Database:
        database = Database(path, (schema.SCHEMA,), on_broken=alarms.append)
        opened.append(database)
        return database

    yield open_
    for database in opened:
        await database.close()


@pytest.fixture
async def database(open_database: OpenDatabase, tmp_path: Path) -> Database:
    return open_database(tmp_path / "spool.db")


@pytest.fixture
async def spool(database: Database, clock: FakeClock) -> SqliteSpool:
    return SqliteSpool(database, clock, DAY)
