"""The file of an older version, made into what this one reads."""

from __future__ import annotations

from typing import Final

import apsw

from proxy.event import Event
from proxy.placing import place_event
from proxy.spool import rows
from proxy.spool.base import Parked
from proxy.spool.schema import SCHEMA


def from_1(connection: apsw.Connection) -> None:
    """Version 1 kept what an event waits for in its own row, and knew no devices."""
    connection.execute("DROP INDEX IF EXISTS parked")
    connection.execute("ALTER TABLE events RENAME TO events_1")
    connection.execute(SCHEMA)
    cursor = connection.cursor()
    for row in connection.execute(
        "SELECT id, source, message_id, type, received_at, facts, raw,"
        " due, attempts, first_attempt_at, done FROM events_1 ORDER BY id"
    ):
        id_, source, message_id, type_, received_at, facts, raw, due, *earlier = row
        where = place_event(Event(source, message_id, type_, received_at, facts, raw))
        event = Event(source, message_id, type_, received_at, facts, raw, where.device)
        lane = rows.lanes_of(cursor, source)[where.computed]
        rows.insert_events(cursor, [(event, where.device, lane, id_)])
        if due:
            attempts, first_attempt_at, done = earlier
            parked = Parked(due, "", attempts, first_attempt_at, rows.digests(done))
            rows.insert_parked(cursor, id_, where.device, parked)
    # Dead letters keep their ids: none may be given a second time.
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
    connection.execute(
        "INSERT INTO sqlite_sequence SELECT 'events', seq FROM sqlite_sequence"
        " WHERE name = 'events_1'"
    )
    connection.execute("DROP TABLE events_1")


MIGRATIONS: Final = {1: from_1}
