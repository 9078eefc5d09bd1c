"""A file of an older version is taken over whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apsw
import pytest

from proxy.database import Database
from proxy.errors import StorageError
from proxy.placing import device_hash
from proxy.spool import schema
from proxy.spool.ledger import balances
from proxy.spool.migrate import MIGRATIONS
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.spool.helpers import counts, ids, lease_now, pending
from tests.support import NOW, FakeClock

VERSION_1 = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, message_id TEXT NOT NULL,
    type TEXT NOT NULL, received_at REAL NOT NULL, due REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, first_attempt_at REAL, done BLOB NOT NULL DEFAULT x'',
    facts BLOB NOT NULL, raw BLOB NOT NULL
);
CREATE INDEX parked ON events (due) WHERE due > 0;
PRAGMA user_version = 1;
"""


def write_version_1(path: Path, rows: list[dict[str, Any]]) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute(VERSION_1)
    for number, row in enumerate(rows, 41):
        filled = {
            "id": number, "source": "acme", "message_id": f"m-{number}", "type": "track",
            "received_at": NOW, "facts": b"{}", **row,
        }  # fmt: skip
        marks = ", ".join("?" * len(filled))
        connection.execute(
            f"INSERT INTO events ({', '.join(filled)}) VALUES ({marks})", tuple(filled.values())
        )
    connection.close()


def message(device: str, **fields: Any) -> bytes:
    context = {"device": {"id": device, "advertisingId": device}, "os": {"name": "iOS"}}
    return json.dumps({"event": "E", "userId": "u-1", "context": context, **fields}).encode()


async def test_waiting_events_keep_their_order_their_place_and_their_tries(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "spool.db"
    done = b"12345678"
    write_version_1(path, [
        {"raw": message("phone"), "due": NOW + 60, "attempts": 3, "first_attempt_at": NOW - 9,
         "done": done},
        {"raw": message("phone")},
        {"raw": message("other"), "facts": b'{"context":{"personas":{"computation_id":"c"}}}'},
        {"raw": b"torn"},
    ])  # fmt: skip
    database = Database(path, (schema.SCHEMA,), migrations=MIGRATIONS)
    spool = SqliteSpool(database, clock, 0)
    assert pending(database) == ["m-41", "m-42", "m-43", "m-44"]
    live, bulk = lease_now(spool)
    assert [ids([live]), ids([bulk]), bulk.lane.bulk] == [["m-44"], ["m-43"], True]
    await clock.advance(60)
    (first,) = lease_now(spool)
    assert first.event.device == device_hash("acme", "phone")
    assert (first.attempts, first.first_attempt_at, first.done) == (3, NOW - 9, frozenset({done}))
    await spool.settle(first, Settlement("delivered"))
    assert ids(lease_now(spool)) == ["m-42"]
    await database.close()


async def test_an_id_is_not_given_again_though_nothing_waits(
    tmp_path: Path, clock: FakeClock
) -> None:
    """A dead letter may have it."""
    path = tmp_path / "spool.db"
    write_version_1(path, [{"raw": message("phone")}])
    connection = apsw.Connection(str(path))
    connection.execute("DELETE FROM events")
    connection.close()
    database = Database(path, (schema.SCHEMA,), migrations=MIGRATIONS)
    assert database.read("SELECT seq FROM sqlite_sequence WHERE name = 'events'") == [(41,)]
    assert database.read("PRAGMA user_version") == [(3,)]
    await database.close()
    assert balances(counts(path))


async def test_it_happens_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    write_version_1(path, [{"raw": message("phone")}])

    def failing(connection: apsw.Connection) -> None:
        MIGRATIONS[1](connection)
        raise apsw.FullError("no room")

    with pytest.raises(StorageError, match="no room"):
        Database(path, (schema.SCHEMA,), migrations={1: failing})
    database = Database(path, (schema.SCHEMA,), migrations=MIGRATIONS)
    assert pending(database) == ["m-41"]
    await database.close()
