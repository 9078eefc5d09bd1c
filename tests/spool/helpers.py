"""Short ways to make events and to look into a spool's file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.database import Database, open_for_reading
from proxy.event import Event
from proxy.placing import device_hash
from proxy.spool.base import Counts, Leased
from proxy.spool.ledger import read_counts
from proxy.spool.sqlite import SqliteSpool
from tests.support import NOW


def events(
    *message_ids: str, source: str = "acme", size: int = 0, device: str = "", bulk: bool = False
) -> list[Event]:
    """One event each, of a device of its own if none is named; `size` is that of its raw bytes."""
    return [
        Event(
            source, id_, "track", NOW, b"{}", b"{}".ljust(size),
            device=device_hash(source, device or id_), computed=bulk,
        )
        for id_ in message_ids
    ]  # fmt: skip


def lease_now(spool: SqliteSpool, limit: int = 100) -> list[Leased]:
    """What may be sent now, from wherever it waits."""
    found: list[Leased] = []
    for app in spool.parked_apps():
        found += spool.lease_parked(app, limit - len(found))
    for lane in sorted(spool.lanes(), key=lambda lane: lane.bulk):
        found += spool.lease(lane, limit - len(found))
    return found


def ids(leased: list[Leased]) -> list[str]:
    return [each.event.message_id for each in leased]


def pending(database: Database) -> list[str]:
    """The message ids in the queue, in its order."""
    return [row[0] for row in database.read("SELECT message_id FROM events ORDER BY id")]


@contextmanager
def reads(database: Database) -> Iterator[list[str]]:
    """The statements by which it is read meanwhile, in their order."""
    statements: list[str] = []

    def trace(_cursor: object, statement: str, _values: object) -> bool:
        statements.append(statement)
        return True

    database._reader.exec_trace = trace
    yield statements
    database._reader.exec_trace = None


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
