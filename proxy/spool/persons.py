"""By which device a message is ordered that names only a user: the first that came with that user.
If such a message came before any device, it is the user itself, as a hash.

For good, so that such messages of one user keep their order among themselves: one that still waits
must not be overtaken by a later one because a device became known meanwhile.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from proxy.event import Event

MAX_REMEMBERED: Final = 100_000  # persons whose device need not be looked up again


class Persons:
    """Works inside the writing transaction."""

    def __init__(self) -> None:
        self._remembered: dict[int, int] = {}

    def device(self, cursor: apsw.Cursor, event: Event) -> int:
        """By which an event is ordered. The first of a person decides for all that name none."""
        person = event.person
        if person is None:
            return event.device
        first = self._remembered.get(person)
        if first is None:
            cursor.execute("INSERT OR IGNORE INTO persons VALUES (?, ?)", (person, event.device))
            first = self._find(cursor, person)
        return first if event.of_person else event.device

    def _find(self, cursor: apsw.Cursor, person: int) -> int:
        """The row is there."""
        found: Any = cursor.execute("SELECT device FROM persons WHERE person = ?", (person,))
        device: int = next(iter(found))[0]
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[person] = device
        return device
