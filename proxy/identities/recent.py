"""Which facts were written lately, so that what is said again and again costs nothing."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

from proxy.device import Device
from proxy.identities.facts import Fact, Id

DAY: Final = 86_400.0
SLOTS: Final = 1 << 20  # 12 MB; a device takes four to six of them


class Recent:
    """The facts written within a day, so that they are not written again.

    A table of hashes, in which what collides is forgotten. Each id leads to the device that was
    last written with it: a device whose ids do not all lead to it has lost one to another device,
    and has to be written to get it back. By its first id stand its persons, and when.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        """`slots` is a power of two."""
        self._mask = slots - 1
        self._marks = array("Q", bytes(8 * slots))
        self._times = array("I", bytes(4 * slots))

    def covers(self, fact: Fact, now: float) -> bool:
        """Whether nothing would change by writing this."""
        marks, device = self._marks, _mark(fact.device)
        places = [self._place(fact.source, id_) for id_ in fact.ids]
        if fact.silent:
            if not marks[places[0]]:
                return False
        elif any(marks[place] != device for place in places):
            return False
        for place, mark in self._persons(fact):
            if marks[place] != mark or not 0 <= now - self._times[place] < DAY:
                return False
        return True

    def add(self, fact: Fact, now: float) -> None:
        """A device's own fact is written; what is handed over may find another owner there."""
        marks, device = self._marks, _mark(fact.device)
        places = [self._place(fact.source, id_) for id_ in fact.ids]
        if not fact.silent or not marks[places[0]]:
            if any(marks[place] != device for place in places):  # nobody is known with this one
                self._forget_persons(fact.source, fact.ids[0])
            for place in places:
                marks[place] = device
        for place, mark in self._persons(fact):
            marks[place] = mark
            self._times[place] = int(now)

    def drop(self, ids: Iterable[Id]) -> None:
        """Something else became of these."""
        for source, id_ in ids:
            self._marks[self._place(source, id_)] = 0
            self._forget_persons(source, id_)

    def _forget_persons(self, source: str, id_: str) -> None:
        for kind in "ua":
            self._marks[self._place(source, id_, kind)] = 0

    def _persons(self, fact: Fact) -> list[tuple[int, int]]:
        """Where each person of a fact stands, and as what."""
        first = fact.ids[0]
        named = (("u", fact.user_id), ("a", fact.anonymous_id))
        return [
            (self._place(fact.source, first, kind), hash((fact.source, first, kind, id_)) & _BITS)
            for kind, id_ in named
            if id_
        ]

    def _place(self, source: str, id_: str, kind: str = "") -> int:
        return hash((source, id_, kind)) & self._mask


_BITS: Final = (1 << 64) - 1


def _mark(device: Device) -> int:
    content = (device.platform, device.kochava_device_id, *device.ids.items())
    return hash(content) & _BITS or 1  # 0 is nothing
