"""The lanes of all sources, and how far each has been read."""

from __future__ import annotations

from collections import deque

from proxy.database import Database
from proxy.spool.base import Lane, Leased


class Cursor:
    """How far a lane has been read, and which of its events have had their turn come since."""

    def __init__(self) -> None:
        self.id = 0
        self.turn: deque[int] = deque()
        self.ready: deque[Leased] = deque()  # read beyond what was asked for
        self.read_up = False  # until there is news

    def read_to(self, id_: int) -> None:
        """Nothing of the lane is left up to this id, and nothing beyond it is known of."""
        self.id = max(self.id, id_)
        self.read_up = True


class Lanes:
    """Those that stand in the file; both of a source are made at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lanes: dict[int, tuple[Lane, Cursor]] = {}
        self.look_again()

    def all(self) -> list[Lane]:
        return [lane for lane, _ in self._lanes.values()]

    def lane(self, id_: int) -> Lane:
        if id_ not in self._lanes:
            self.look_again()
        return self._lanes[id_][0]

    def cursor(self, lane: Lane) -> Cursor:
        return self._lanes[lane.id][1]

    def other(self, lane: Lane) -> Cursor:
        """That of the bulk events where `lane` is of live ones, and the other way round."""
        return next(
            cursor
            for each, cursor in self._lanes.values()
            if each.source == lane.source and each.bulk != lane.bulk
        )

    def news_of(self, source: str) -> None:
        """There may be more to read."""
        mine = [cursor for lane, cursor in self._lanes.values() if lane.source == source]
        for cursor in mine:
            cursor.read_up = False
        if not mine:
            self.look_again()

    def look_again(self) -> None:
        """Others may have written, nobody says to which."""
        for _, cursor in self._lanes.values():
            cursor.read_up = False
        for id_, source, bulk in self._database.read("SELECT id, source, bulk FROM lanes"):
            self._lanes.setdefault(id_, (Lane(id_, source, bool(bulk)), Cursor()))
