"""By which device a message is ordered that names only a user: the first that came with that user.

For good, so that such messages of one user keep their order among themselves as well.
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
        """By which an event is ordered; what names both teaches whose device it is."""
        person = event.person
        if person is None or (not event.of_person and person in self._remembered):
            return event.device
        if not event.of_person:
            cursor.execute("INSERT OR IGNORE INTO persons VALUES (?, ?)", (person, event.device))
        known = self._remembered.get(person) or self._find(cursor, person)
        return known if event.of_person and known is not None else event.device

    def _find(self, cursor: apsw.Cursor, person: int) -> int | None:
        found: Any = cursor.execute("SELECT device FROM persons WHERE person = ?", (person,))
        device: int | None = next(iter(found), (None,))[0]
        if device is not None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[person] = device
        return device
