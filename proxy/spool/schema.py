"""The tables of the queue.

`events` is only appended to and deleted from. What an event waits for stands beside it in the slim
table `parked`, so that waiting rewrites no message and leasing reads over nothing that waits.
"""

from __future__ import annotations

from typing import Final

from proxy.spool import dedup, ledger, pauses, purpose

SCHEMA: Final = (
    """
CREATE TABLE IF NOT EXISTS lanes (
    id     INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    bulk   INTEGER NOT NULL,
    UNIQUE (source, bulk)
);
CREATE TABLE IF NOT EXISTS events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused, so that no cursor skips one
    lane        INTEGER NOT NULL,
    bulk        INTEGER NOT NULL,
    device      INTEGER NOT NULL,                  -- by which it is ordered (proxy.placing)
    source      TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    type        TEXT NOT NULL,
    received_at REAL NOT NULL,
    facts       BLOB NOT NULL,
    raw         BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_lane ON events (lane, id);
-- A live event must wait for bulk ones of its device that nobody has looked at yet.
CREATE INDEX IF NOT EXISTS bulk_by_device ON events (device, id) WHERE bulk;
-- By what messages of a person are ordered that name no device: the first device, or the person
-- where such a message came before any. Hashes of both.
CREATE TABLE IF NOT EXISTS persons (
    person INTEGER PRIMARY KEY,
    device INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS parked (
    id               INTEGER PRIMARY KEY,          -- of the event
    device           INTEGER NOT NULL,
    app              TEXT,                         -- NULL: behind an earlier one of its device
    due              REAL NOT NULL,
    attempts         INTEGER NOT NULL,
    first_attempt_at REAL,
    done             BLOB NOT NULL,                -- digests of answered requests, end to end
    refusal          BLOB                          -- Refusal as JSON
);
CREATE INDEX IF NOT EXISTS parked_by_device ON parked (device, id);
CREATE INDEX IF NOT EXISTS parked_by_app ON parked (app, due) WHERE app IS NOT NULL;
CREATE TABLE IF NOT EXISTS dead (
    id          INTEGER PRIMARY KEY,
    source      TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    type        TEXT NOT NULL,
    received_at REAL NOT NULL,
    died_at     REAL NOT NULL,
    attempts    INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    detail      TEXT NOT NULL,
    request     BLOB,
    response    BLOB,
    facts       BLOB NOT NULL,
    raw         BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS dead_by_source ON dead (source); -- to count them
"""
    + ledger.SCHEMA
    + dedup.SCHEMA
    + purpose.SCHEMA
    + pauses.SCHEMA
)
