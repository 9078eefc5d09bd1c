"""Which message ids were accepted before, over a window of time.

Two slices, the current and the one before it: when the current one has lasted a whole window, or
holds too many ids, the older is dropped whole and a new one begun. No id is ever searched for to
be deleted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
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

_KNOWN: Final = """
SELECT digest FROM dedup_0 WHERE digest IN carray(?1) AND seen_at > ?2
UNION ALL SELECT digest FROM dedup_1 WHERE digest IN carray(?1) AND seen_at > ?2
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

    def fresh(self, cursor: apsw.Cursor, digests: Sequence[bytes], now: float) -> list[bool]:
        """Which of these did not come within the window before, nor earlier among them; from now
        on all of them did.
        """
        if not self._seconds:
            return [True] * len(digests)
        known: Any = cursor.execute(_KNOWN, (apsw.carray(tuple(digests)), now - self._seconds))
        seen = {digest for (digest,) in known}
        fresh = []
        for digest in digests:
            fresh.append(digest not in seen)
            seen.add(digest)
        new = tuple(digest for digest, is_new in zip(digests, fresh, strict=True) if is_new)
        if new:
            cursor.execute(
                f"REPLACE INTO dedup_{self._current} SELECT value, ? FROM carray(?)",
                (now, apsw.carray(new)),
            )
        return fresh


def digest_of(source: str, message_id: str) -> bytes:
    """What is kept of a message id."""
    return hashlib.blake2b(f"{source}\0{message_id}".encode(), digest_size=16).digest()
