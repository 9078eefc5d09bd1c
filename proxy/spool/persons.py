"""By which device a message is ordered that names only a user: the first that came with that user.
If such a message came before any device, it is the user itself, as a hash.

For good, so that such messages of one user keep their order among themselves: one that still waits
must not be overtaken by a later one because a device became known meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

from proxy.event import Event
from proxy.writes import insert_rows, numbers

MAX_REMEMBERED: Final = 100_000  # persons whose device need not be looked up again


class Persons:
    """Works inside the writing transaction."""

    def __init__(self) -> None:
        self._remembered: dict[int, int] = {}

    def devices(self, cursor: apsw.Cursor, events: Sequence[Event]) -> list[int]:
        """By which each event is ordered. The first of a person decides for all that name none."""
        first: dict[int, int] = {}
        for event in events:
            if event.person is not None:
                first.setdefault(event.person, event.device)
        # One by one: the difference of two dicts' keys walks through all of the second.
        unsure = {person: at for person, at in first.items() if person not in self._remembered}
        first |= {person: self._remembered[person] for person in first.keys() - unsure.keys()}
        if unsure:
            first |= self._on_disk(cursor, unsure)
        return [
            first[event.person] if event.of_person and event.person is not None else event.device
            for event in events
        ]

    def _on_disk(self, cursor: apsw.Cursor, first: dict[int, int]) -> dict[int, int]:
        """The devices that came before, where any did; where none did these come first."""
        found: Any = cursor.execute(
            "SELECT person, device FROM persons WHERE person IN carray(?)", (numbers(first),)
        ).fetchall()
        known: dict[int, int] = dict(found)
        new = [(person, device) for person, device in first.items() if person not in known]
        insert_rows(cursor, "INSERT INTO persons", new)
        if len(self._remembered) + len(known) > MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered.update(known)  # what is new may be rolled back
        return known
