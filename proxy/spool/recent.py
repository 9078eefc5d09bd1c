"""The message ids that came last: in the order of their coming on the disk, to be found in memory.

An id is a random key: on its own it changes a page of an index for itself. So ids wait here until
many neighbours can go into the index at once.

Memory follows the rows of the table and nothing else, so that it holds what is on the disk, whether
this process wrote it or another, whatever was rolled back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw

from proxy.writes import insert_rows

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS dedup_recent (
    id      INTEGER PRIMARY KEY, -- of the last of its digests: they are numbered from the first on
    mark    INTEGER NOT NULL,    -- at random: no row passes for one that was rolled back
    moves   INTEGER NOT NULL,    -- of buckets so far; those of this transaction went before the row
    seen_at REAL NOT NULL,
    digests BLOB NOT NULL        -- end to end
);
"""

DIGEST_BYTES: Final = 16
BUCKETS: Final = 256  # by the first byte; they are moved in turn
MAX_RECENT: Final = 65_536  # ids in memory, about 8 MB; then a move is of about 500


class Recent:
    """Works inside the writing transaction, where `catch_up` comes before all else."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._forget()

    def _forget(self) -> None:
        self.newest = 0
        self._mark = 0
        self._moves = 0
        self._moved_at: deque[int] = deque(maxlen=BUCKETS)  # the row of each of the last moves
        self._buckets: list[dict[bytes, float]] = [{} for _ in range(BUCKETS)]
        self._held = 0  # at most so many: an id may have come twice

    def catch_up(self, cursor: apsw.Cursor) -> None:
        """Reads what was written since. Rows go from the end only with a transaction that is rolled
        back, so that where the last one that was read still is, all before it were there too.
        """
        rows = self._rows(cursor)
        if (last := next(rows, None)) and last[:2] == (self.newest, self._mark):
            self._take(rows)
        elif last or self.newest:
            self._forget()
            self._take(self._rows(cursor))

    def _rows(self, cursor: apsw.Cursor) -> Iterator[Any]:
        return cursor.execute(
            "SELECT id, mark, moves, seen_at, digests FROM dedup_recent WHERE id >= ? ORDER BY id",
            (self.newest,),
        )

    def _take(self, rows: Iterator[Any]) -> None:
        buckets = self._buckets
        for id_, mark, moves, seen_at, digests in rows:
            if moves > self._moves:
                self._empty(moves, id_)
            for at in range(0, len(digests), DIGEST_BYTES):
                buckets[digests[at]][digests[at : at + DIGEST_BYTES]] = seen_at
            self._held += len(digests) // DIGEST_BYTES
            self.newest, self._mark = id_, mark

    def _empty(self, moves: int, row: int) -> None:
        """The buckets that were moved before this row. Before the first that is read here they are
        empty.
        """
        for number in range(self._moves, moves) if self.newest else ():
            self._moved_at.append(row)
            self._held -= len(self._buckets[number % BUCKETS])
            self._buckets[number % BUCKETS].clear()
        self._moves = moves

    def find(self, digests: Sequence[bytes]) -> dict[bytes, float]:
        """Those of them that are here, and when they were seen."""
        buckets = self._buckets
        return {
            digest: seen_at
            for digest in digests
            if (seen_at := buckets[digest[0]].get(digest)) is not None
        }

    def add(self, cursor: apsw.Cursor, digests: Sequence[bytes], now: float, index: str) -> None:
        """Puts them down as seen now. What there is no more room for goes into the table `index`
        (digest, seen_at).
        """
        moves = self._move(cursor, len(digests), index)
        if moves > self._moves and len(self._moved_at) == BUCKETS:
            # All buckets were moved at this row or later: what came before it is in the index.
            self.drop(cursor, self._moved_at[0] - 1)
        cursor.execute(
            "INSERT INTO dedup_recent VALUES (?, random(), ?, ?, ?)",
            (self.newest + len(digests), moves, now, b"".join(digests)),
        )

    def _move(self, cursor: apsw.Cursor, more: int, index: str) -> int:
        """Until there is room for `more`: answers the moves so far. In memory they are carried out
        when the row is read that tells of them.
        """
        moves = self._moves
        if self._held + more <= self._most:
            return moves
        held = self._held = sum(map(len, self._buckets))
        while held and held + more > self._most:
            bucket = self._buckets[moves % BUCKETS]
            insert_rows(cursor, f"REPLACE INTO {index}", sorted(bucket.items()))
            held -= len(bucket)
            moves += 1
        return moves

    def drop(self, cursor: apsw.Cursor, up_to: int) -> None:
        """Removes rows from the disk; the last one stays, by which the next is numbered."""
        up_to = min(up_to, self.newest - 1)
        cursor.execute("DELETE FROM dedup_recent WHERE id <= ?", (up_to,))
