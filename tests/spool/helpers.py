"""Short ways to make events and to look into a spool's file."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from proxy.database import Database, open_for_reading
from proxy.event import Event
from proxy.spool.base import Counts, Leased
from proxy.spool.ledger import read_counts
from proxy.spool.sqlite import SqliteSpool
from tests.support import NOW


def events(*message_ids: str, source: str = "acme", size: int = 0) -> list[Event]:
    """One event each; `size` is that of its raw bytes."""
    return [Event(source, id_, "track", NOW, b"{}", b"{}".ljust(size)) for id_ in message_ids]


async def lease_now(spool: SqliteSpool, limit: int = 100) -> list[Leased]:
    """What can be leased without waiting, which may be nothing."""
    leasing = asyncio.ensure_future(spool.lease(limit))
    for _ in range(3):  # it answers in its first turn, or it waits
        await asyncio.sleep(0)
    if leasing.done():
        return leasing.result()
    leasing.cancel()
    await asyncio.gather(leasing, return_exceptions=True)
    return []


def ids(leased: list[Leased]) -> list[str]:
    return [each.event.message_id for each in leased]


def pending(database: Database) -> list[str]:
    """The message ids in the queue, in its order."""
    return [row[0] for row in database.read("SELECT message_id FROM events ORDER BY id")]


def counts(path: Path, source: str = "acme", now: float = NOW) -> Counts:
    """The ledger of a source, read as `stats` does."""
    connection = open_for_reading(path)
    try:
        return read_counts(connection, now).get(source, Counts())
    finally:
        connection.close()


def copy_as_killed(path: Path, to: Path) -> None:
    """The files as a process leaves them that is killed now; its WAL index dies with it."""
    shutil.copy(path, to)
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        shutil.copy(wal, to.with_name(to.name + "-wal"))


def wal_size(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size
