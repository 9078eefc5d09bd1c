"""Ending events: gone or among the dead, counted, and the next one of each device found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from proxy.spool import ledger, rows
from proxy.spool.base import Leased
from proxy.states import Settlement
from proxy.writes import numbers

#: Of each device the first event that waits behind another, and its lane. By one step in the index
#: each: a GROUP BY would walk through all that wait, at each that is settled.
_BEHIND: Final = """
SELECT value, e.id, e.lane FROM carray(?) CROSS JOIN events e ON e.id = (
    SELECT p.id FROM parked p CROSS JOIN events ON events.id = p.id
    WHERE p.device = value ORDER BY p.id LIMIT 1
)
"""

#: Id and lane of the event behind a settled one, if there is any; None if it was settled before.
Settled = list[tuple[int, int]] | None


class End(msgspec.Struct, frozen=True):
    """That an event is settled, at `now` in epoch seconds."""

    leased: Leased
    settlement: Settlement
    now: float


class _EndedBefore(Exception):
    """Some of several events; asked one at a time, it turns out which."""


def settle(cursor: apsw.Cursor, ends: Sequence[End]) -> list[Settled]:
    """Ends events of different devices. (`proxy.writes.Work`)"""
    ids = numbers(end.leased.id for end in ends)
    cursor.execute("DELETE FROM parked WHERE id IN carray(?)", (ids,))
    cursor.execute("DELETE FROM events WHERE id IN carray(?)", (ids,))
    if cursor.connection.changes() < len(ends):
        if len(ends) > 1:
            raise _EndedBefore
        return [None]  # an event ends once
    lines: Counter[ledger.Line] = Counter()
    for end in ends:
        settlement = end.settlement
        if settlement.state == "dead":
            rows.bury(cursor, end.leased, settlement, end.now)
        reason = rows.storable(settlement.reason) if settlement.state == "filtered" else ""
        lines[end.leased.event.source, settlement.state, reason] += 1
    ledger.count_all(cursor, lines)
    devices = numbers({end.leased.event.device for end in ends})
    found: Any = cursor.execute(_BEHIND, (devices,)).fetchall()
    behind = {device: [(id_, lane)] for device, id_, lane in found}
    return [behind.get(end.leased.event.device, []) for end in ends]
