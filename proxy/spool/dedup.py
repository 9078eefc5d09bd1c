"""Which message ids were accepted before, over a window of time.

Two slices, the current and the one before it: when the current one has lasted a whole window, or
holds too many ids, the older is dropped whole and a new one begun. No id is ever searched for to
be deleted. The last ids are kept in front of them (`proxy.spool.recent`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final

import apsw

from proxy.spool import recent
from proxy.spool.recent import DIGEST_BYTES, MAX_RECENT, Recent

_SLICES: Final = """
CREATE TABLE IF NOT EXISTS dedup_slices (
    slice    INTEGER PRIMARY KEY,
    began_at REAL NOT NULL,
    ids      INTEGER NOT NULL -- and the newest id of dedup_recent: how many came in it
);
CREATE TABLE IF NOT EXISTS dedup_0 (digest BLOB PRIMARY KEY, seen_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dedup_1 (digest BLOB PRIMARY KEY, seen_at REAL NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO dedup_slices VALUES (0, 0, 0);
"""
SCHEMA: Final = _SLICES + recent.SCHEMA

#: The joins are crossed so that each digest is looked up as it comes, and not sorted first.
_KNOWN: Final = """
SELECT digest FROM carray(?1) CROSS JOIN dedup_0 ON digest = value WHERE seen_at > ?2
UNION ALL SELECT digest FROM carray(?1) CROSS JOIN dedup_1 ON digest = value WHERE seen_at > ?2
"""
MAX_IDS: Final = 50_000_000  # in one slice: about 2 GB; past it the window gets shorter


class DedupWindow:
    """Works inside the writing transaction. `seconds` 0 turns it off."""

    def __init__(
        self, seconds: float, max_ids: int = MAX_IDS, max_recent: int = MAX_RECENT
    ) -> None:
        self._seconds = seconds
        self._max_ids = max_ids
        self._recent = Recent(max_recent)

    def fresh(self, cursor: apsw.Cursor, digests: Sequence[bytes], now: float) -> list[bool]:
        """Which of these did not come within the window before, nor earlier among them; from now
        on all of them did.
        """
        if not self._seconds:
            return [True] * len(digests)
        self._recent.catch_up(cursor)
        current = self._slice_for(cursor, now, len(digests))
        seen = self._seen(cursor, digests, now - self._seconds)
        fresh = []
        for digest in digests:
            fresh.append(digest not in seen)
            seen.add(digest)
        new = [digest for digest, is_new in zip(digests, fresh, strict=True) if is_new]
        if new:
            self._recent.add(cursor, new, now, f"dedup_{current}")
        return fresh

    def _slice_for(self, cursor: apsw.Cursor, now: float, more: int) -> int:
        """The slice for `more` ids: a new one when it is time."""
        newest = self._recent.newest
        # Of the latest, all three: https://sqlite.org/lang_select.html#bareagg
        row: Any = cursor.execute("SELECT slice, max(began_at), ids FROM dedup_slices").fetchall()[
            0
        ]
        current, began_at, ids = row
        if now - began_at > self._seconds or ids + newest + more > self._max_ids:
            current = 1 - int(current)
            cursor.execute(f"DROP TABLE dedup_{current}")
            cursor.execute(
                f"CREATE TABLE dedup_{current}"
                " (digest BLOB PRIMARY KEY, seen_at REAL NOT NULL) WITHOUT ROWID"
            )
            self._recent.drop(cursor, -ids)  # what came before the slice that ends now
            # Clocks step back; the new slice must still be the later one, to be the current one.
            began_at = max(now, math.nextafter(began_at, math.inf))
            cursor.execute(
                "REPLACE INTO dedup_slices VALUES (?, ?, ?)", (current, began_at, -newest)
            )
        return int(current)

    def _seen(self, cursor: apsw.Cursor, digests: Sequence[bytes], since: float) -> set[bytes]:
        found = self._recent.find(digests)
        seen = {digest for digest, seen_at in found.items() if seen_at > since}
        others = tuple(digest for digest in digests if digest not in found)
        if others:
            known: Any = cursor.execute(_KNOWN, (apsw.carray(others), since))
            seen.update(digest for (digest,) in known)
        return seen


def digest_of(source: str, message_id: str) -> bytes:
    """What is kept of a message id."""
    return hashlib.blake2b(f"{source}\0{message_id}".encode(), digest_size=DIGEST_BYTES).digest()
