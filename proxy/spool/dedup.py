"""Which message ids were accepted before, over a window of time.

Two slices, the current and the one before it: when the current one has lasted a whole window, or
holds too many ids, the older is dropped whole and a new one begun. No id is ever searched for to
be deleted.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, Final

import apsw

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS dedup_slices (
    slice INTEGER PRIMARY KEY, began_at REAL NOT NULL, ids INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS dedup_0 (digest BLOB PRIMARY KEY, seen_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dedup_1 (digest BLOB PRIMARY KEY, seen_at REAL NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO dedup_slices VALUES (0, 0, 0);
"""

MAX_IDS: Final = 50_000_000  # in one slice: about 2 GB; past it the window gets shorter


class DedupWindow:
    """Works inside the writing transaction. `seconds` 0 turns it off."""

    def __init__(self, seconds: float, max_ids: int = MAX_IDS) -> None:
        self._seconds = seconds
        self._max_ids = max_ids

    def rotate(self, cursor: apsw.Cursor, now: float, more: int) -> None:
        """Once before the `more` ids of a transaction: begins a new slice when it is time."""
        if not self._seconds:
            return
        row: Any = cursor.execute(
            "SELECT slice, began_at, ids FROM dedup_slices ORDER BY began_at DESC LIMIT 1"
        ).fetchall()[0]
        current, began_at, ids = row
        if now - began_at > self._seconds or ids + more > self._max_ids:
            current, ids = 1 - current, 0
            cursor.execute(f"DROP TABLE dedup_{current}")
            cursor.execute(
                f"CREATE TABLE dedup_{current}"
                " (digest BLOB PRIMARY KEY, seen_at REAL NOT NULL) WITHOUT ROWID"
            )
            # Clocks step back; the new slice must still be the later one, to be the current one.
            began_at = max(now, math.nextafter(began_at, math.inf))
            cursor.execute("REPLACE INTO dedup_slices VALUES (?, ?, 0)", (current, began_at))
        cursor.execute("UPDATE dedup_slices SET ids = ids + ? WHERE slice = ?", (more, current))
        self._current = current

    def seen(self, cursor: apsw.Cursor, source: str, message_id: str, now: float) -> bool:
        """Whether this id came within the window before; from now on it did."""
        if not self._seconds:
            return False
        key = f"{source}\0{message_id}".encode()
        digest = hashlib.blake2b(key, digest_size=16).digest()
        before: Any = cursor.execute(
            "SELECT max(seen_at) FROM (SELECT seen_at FROM dedup_0 WHERE digest = ?1"
            " UNION ALL SELECT seen_at FROM dedup_1 WHERE digest = ?1)",
            (digest,),
        ).fetchall()[0][0]
        if before is not None and before > now - self._seconds:
            return True
        cursor.execute(f"REPLACE INTO dedup_{self._current} VALUES (?, ?)", (digest, now))
        return False
