"""Which facts were written lately, so that what is said again and again costs nothing."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

from proxy.identities.facts import Fact, Id

DAY: Final = 86_400.0
SLOTS: Final = 1 << 19  # 10 MB; a device takes two of them, and two or three of its ids'


class Recent:
    """The facts written within a day, so that they are not written again.

    Two tables of hashes, in which what collides is forgotten. Each id leads to the device that was
    last written with it; by each device stand its persons, and since when. A device that loses an
    id to another one loses its persons, and has to be written to get it back. So all ids of a
    device by which a person stands lead to it, and need not be looked at for each message.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        """`slots`, for persons and twice as many for ids, is a power of two."""
        self._mask = slots - 1
        self._id_mask = 2 * slots - 1
        self._devices = array("I", bytes(4 * 2 * slots))
        self._persons = array("q", bytes(8 * slots))
        self._times = array("I", bytes(4 * slots))

    def covers(self, fact: Fact, now: float) -> bool:
        """Whether nothing would change by writing this."""
        # This is asked for each message: few hashes, near to each other, and no id in lower case.
        device = self._led_to(fact) if fact.silent else _mark(fact)
        for place, person in self._named(device, fact):
            # What was told of all ids is told of the first one too.
            if self._persons[place] | fact.silent != person:
                return False
            if not 0 <= now - self._times[place] < DAY:
                return False
        return True

    def add(self, fact: Fact, now: float) -> None:
        """A device's own fact is written; what is handed over may find another owner there."""
        device = self._led_to(fact) if fact.silent else 0
        if not device:
            device = _mark(fact)
            for id_ in fact.ids:
                self._lead(hash((fact.source, id_)), device)
        for place, person in self._named(device, fact):
            self._persons[place] = person ^ fact.silent
            self._times[place] = int(now)

    def _led_to(self, fact: Fact) -> int:
        """The device that the first id of a fact leads to."""
        return self._devices[hash((fact.source, fact.ids[0])) & self._id_mask]

    def _named(self, device: int, fact: Fact) -> list[tuple[int, int]]:
        """Where each person of a fact stands, and as what; with a last bit of 0 if it was told of
        the first id only.
        """
        # The device alone would not do: that of a silent one may be another that collides with it.
        known_by = device, fact.source, fact.device.kochava_device_id
        place = device & self._mask
        named = []
        if fact.user_id:
            named.append((place, hash((known_by, fact.user_id)) | 1))
        if fact.anonymous_id:
            named.append((place ^ 1, hash((known_by, fact.anonymous_id)) | 1))
        return named

    def drop(self, ids: Iterable[Id]) -> None:
        """Something else became of these."""
        for each in ids:
            self._lead(hash(each), 0)

    def _lead(self, id_: int, device: int) -> None:
        """An id, to a device or (0) to none."""
        place = id_ & self._id_mask
        before = self._devices[place]
        if before != device:
            self._devices[place] = device
            if before:
                first = before & self._mask
                self._persons[first] = self._persons[first ^ 1] = 0


def _mark(fact: Fact) -> int:
    """A device with all that is written of it."""
    device, ids = fact.device, fact.device.ids
    content = (fact.source, device.platform, device.kochava_device_id, *ids, *ids.values())
    return hash(content) & 0xFFFF_FFFF or 1  # 0 is nothing
