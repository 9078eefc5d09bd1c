"""Which facts were written lately, so that what is said again and again costs nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from proxy.device import Device
from proxy.identities.facts import Fact, Id, ids_of

DAY: Final = 86_400.0
MAX_RECENT: Final = 100_000  # ids whose facts need not be written again


class _Written:
    """What was written last of a device, and when for each person."""

    __slots__ = ("anonymous_at", "anonymous_id", "device", "user_at", "user_id")

    def __init__(self, device: Device) -> None:
        self.device = device
        self.user_id: str | None = None
        self.user_at = 0.0
        self.anonymous_id: str | None = None
        self.anonymous_at = 0.0


class Recent:
    """The facts written within a day, so that they are not written again.

    Each id leads to the device that was last written with it: a device whose ids do not all lead
    to it has lost one to another device, and has to be written to get it back.
    """

    def __init__(self, max_ids: int = MAX_RECENT) -> None:
        self._max_ids = max_ids
        self._by_id: OrderedDict[Id, _Written] = OrderedDict()

    def covers(self, fact: Fact, now: float) -> bool:
        """Whether nothing would change by writing this."""
        written = self._by_id.get((fact.source, fact.ids[0]))
        if written is None or not (fact.silent or written.device == fact.device):
            return False
        user_id, anonymous_id = fact.user_id, fact.anonymous_id
        if user_id and (written.user_id != user_id or not 0 <= now - written.user_at < DAY):
            return False
        if anonymous_id and (
            written.anonymous_id != anonymous_id or not 0 <= now - written.anonymous_at < DAY
        ):
            return False
        return all(self._by_id.get((fact.source, id_)) is written for id_ in fact.ids)

    def add(self, fact: Fact, now: float) -> None:
        """A device's own fact is written; what is handed over may find another owner there."""
        holders = [self._by_id.get((fact.source, id_)) for id_ in fact.ids]
        known = holders[0]
        if known is not None:
            # Ids that the device has no longer are taken from its persons.
            self.drop((fact.source, id_) for id_ in ids_of(known.device))
        if (
            known is None
            or known.device != fact.device
            or any(holder is not known for holder in holders)
        ):
            known = _Written(fact.device)
        if fact.user_id:
            known.user_id, known.user_at = fact.user_id, now
        if fact.anonymous_id:
            known.anonymous_id, known.anonymous_at = fact.anonymous_id, now
        for id_ in fact.ids:
            self._by_id[fact.source, id_] = known
            self._by_id.move_to_end((fact.source, id_))
        while len(self._by_id) > self._max_ids:
            self._by_id.popitem(last=False)

    def drop(self, ids: Iterable[Id]) -> None:
        """Something else became of these."""
        for id_ in ids:
            self._by_id.pop(id_, None)
