"""The tables of whose devices are known.

`devices` goes from a person to devices, `device_ids` back from each of their ids to the persons
that were last seen with it. Whoever `device_ids` names has a row in `devices` with a device of that
id. So it is bounded with `devices`, and whoever is removed there is named nowhere.
"""

from __future__ import annotations

from typing import Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS devices (
    source  TEXT NOT NULL,
    person  TEXT NOT NULL,    -- "u:" and a user id, or "a:" and an anonymous id
    device  TEXT NOT NULL,    -- its kochava_device_id, or the first of its ids
    details BLOB NOT NULL,    -- Device as JSON
    seen_at REAL NOT NULL,
    PRIMARY KEY (source, person, device)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS devices_by_device ON devices (source, device, person);
CREATE INDEX IF NOT EXISTS devices_by_age ON devices (seen_at);
CREATE TABLE IF NOT EXISTS device_ids (
    source       TEXT NOT NULL,
    id           TEXT NOT NULL, -- in lower case: of `devices.device`, or an id in the details
    user_id      TEXT,
    anonymous_id TEXT,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;
-- The rows of `devices`, since counting takes the longer the more there are. Counted once, in a
-- file that has no such table yet.
CREATE TABLE IF NOT EXISTS device_count (
    id     INTEGER PRIMARY KEY CHECK (id = 0),
    number INTEGER NOT NULL
);
INSERT INTO device_count SELECT 0, (SELECT count(*) FROM devices)
    WHERE NOT EXISTS (SELECT 1 FROM device_count);
CREATE TRIGGER IF NOT EXISTS device_added AFTER INSERT ON devices BEGIN
    UPDATE device_count SET number = number + 1 WHERE id = 0;
END;
CREATE TRIGGER IF NOT EXISTS device_removed AFTER DELETE ON devices BEGIN
    UPDATE device_count SET number = number - 1 WHERE id = 0;
END;
-- Who was deleted, as a hash, and when the request for it came.
CREATE TABLE IF NOT EXISTS deletions (
    person BLOB PRIMARY KEY,
    at     REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deletions_by_time ON deletions (at);
DROP TABLE IF EXISTS forgotten;
"""
