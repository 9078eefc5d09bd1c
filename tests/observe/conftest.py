"""The file of a spool, as a running proxy holds it open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.database import Database
from proxy.observe import published
from proxy.spool import schema
from proxy.spool.sqlite import SqliteSpool
from tests.support import FakeClock


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "spool.db", (schema.SCHEMA, published.SCHEMA))
    yield database
    await database.close()


@pytest.fixture
async def spool(database: Database, clock: FakeClock) -> SqliteSpool:
    return SqliteSpool(database, clock, 86_400.0)
