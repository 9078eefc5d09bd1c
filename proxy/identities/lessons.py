"""Writing what many messages say at once; that is what most of the identities' work is.

Almost all of it is plain: a device of somebody that is new, or known as it was. Whatever is not is
written message by message (`proxy.identities.rows.store`), which says what all of this means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import apsw

from proxy.config import Identities
from proxy.identities import rows
from proxy.identities.facts import Fact, Id, Person
from proxy.identities.recent import DAY
from proxy.writes import insert_rows, select_for

_KNOWN: Final = """
SELECT source, person, device, details, seen_at FROM given
JOIN devices ON source = column1 AND person = column2 AND device = column3
"""
_CROWDED: Final = f"""
SELECT column1, column2 FROM given WHERE EXISTS
(SELECT 1 FROM devices WHERE source = column1 AND person = column2
 LIMIT 1 OFFSET {rows.MAX_DEVICES})
"""

#: A row of `devices`: its source, person and device.
_Key = tuple[str, str, str]


class Lesson(NamedTuple):
    """What a message that was received then (epoch seconds) says of these persons."""

    facts: Sequence[Fact]
    persons: Sequence[Person]
    received_at: float
    now: float
    bounds: Identities

    @property
    def is_plain(self) -> bool:
        return not any(fact.handed or fact.silent for fact in self.facts)


def store(cursor: apsw.Cursor, lessons: Sequence[Lesson]) -> list[list[Id]]:
    """Answers for each of which ids less is known now than it says. (`proxy.writes.Work`)"""
    lost: list[list[Id]] = []
    anybody = cursor.execute("SELECT 1 FROM deletions LIMIT 1").fetchone()
    for is_plain, some in groupby(lessons, lambda lesson: not anybody and lesson.is_plain):
        together = list(some)
        found = _store_plain(cursor, together) if is_plain else None
        lost += found if found is not None else [rows.store(cursor, *each) for each in together]
    return lost


def _store_plain(cursor: apsw.Cursor, lessons: Sequence[Lesson]) -> list[list[Id]] | None:
    """None, and nothing done, where a device is not what it was."""
    said = [(key, rows.encode(fact.device), now) for key, fact, now in _said(lessons)]
    found = select_for(cursor, _KNOWN, list({key: None for key, _, _ in said}))
    known: dict[_Key, tuple[bytes, float]] = {
        (source, person, device): (details, seen_at)
        for source, person, device, details, seen_at in found
    }
    new: dict[_Key, None] = {}
    again: dict[_Key, None] = {}
    for key, details, now in said:
        before = known.get(key)
        if before is None:
            new[key] = None
        elif before[0] != details:
            return None
        elif 0 <= now - before[1] < DAY:
            continue
        elif key not in new:
            again[key] = None
        known[key] = details, now
    insert_rows(cursor, "INSERT INTO devices", [(*key, *known[key]) for key in new])
    cursor.executemany(
        "UPDATE devices SET seen_at = ? WHERE source = ? AND person = ? AND device = ?",
        [(known[key][1], *key) for key in again],
    )
    insert_rows(cursor, rows.IDS, list(_ids(lessons)), rows.OWN)
    lost: list[list[Id]] = [[] for _ in lessons]
    if new:
        for person in select_for(cursor, _CROWDED, list({key[:2]: None for key in new})):
            rows.trim(cursor, (person[0], person[1]), lost[-1])
        # More than was added, so that what is too much gets less.
        last = lessons[-1]
        lost[-1] += rows.prune(cursor, last.now, last.bounds, 2 * len(new))
    return lost


def _said(lessons: Sequence[Lesson]) -> Iterator[tuple[_Key, Fact, float]]:
    for lesson in lessons:
        for fact in lesson.facts:
            for source, person in fact.persons():
                yield (source, person, fact.key), fact, lesson.now


def _ids(lessons: Sequence[Lesson]) -> Iterator[tuple[Any, ...]]:
    for lesson in lessons:
        for fact in lesson.facts:
            for id_ in fact.ids:
                yield fact.source, id_, fact.user_id, fact.anonymous_id
