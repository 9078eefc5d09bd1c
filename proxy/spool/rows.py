"""Events, leases and dead letters as rows of the file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apsw
import msgspec

from proxy.event import Event
from proxy.spool.base import Lane, Leased, Parked, Refusal
from proxy.states import Outgoing, Settlement
from proxy.writes import insert_rows

DIGEST_BYTES: Final = 8
#: Headers that authenticate; they have no business in a dead letter or beside a parked event.
_SECRET_HEADERS: Final = frozenset({"kochava-api-key", "kochava-auth-token", "authorization"})

#: Of `events`, then of `parked`, where it waits: as `leased` takes them.
COLUMNS: Final = (
    "e.id, e.device, e.source, e.message_id, e.type, e.received_at, e.facts, e.raw,"
    " p.attempts, p.first_attempt_at, p.done, p.refusal"
)

#: The newest event; whether any is parked, and whether any is bulk.
OVERVIEW: Final = """
SELECT coalesce((SELECT max(id) FROM events), 0), EXISTS (SELECT 1 FROM parked),
    EXISTS (SELECT 1 FROM events WHERE bulk)
"""
FRESH: Final = f"""
SELECT {COLUMNS} FROM events e LEFT JOIN parked p ON p.id = e.id
WHERE e.lane = ? AND e.id > ? AND e.id <= ? AND e.device % ? = ? AND p.app IS NULL
ORDER BY e.id LIMIT ?
"""
#: Of `carray`, in its order, for a CROSS JOIN keeps to that; without those that are gone.
THESE: Final = f"""
SELECT {COLUMNS} FROM carray(?) CROSS JOIN events e ON e.id = value
LEFT JOIN parked p ON p.id = e.id
"""
BULK_BEFORE: Final = """
SELECT e.id, p.id IS NOT NULL FROM events e LEFT JOIN parked p ON p.id = e.id
WHERE e.device = ? AND e.bulk AND e.id > ? AND e.id < ? AND p.app IS NULL ORDER BY e.id
"""
#: Of each device in `carray` the first event that waits on the disk, where any does.
FIRST_PARKED: Final = """
SELECT p.device, p.id FROM carray(?) CROSS JOIN parked p
ON p.id = (SELECT min(id) FROM parked WHERE device = value)
"""
_refusal = msgspec.json.Decoder(Refusal)


def leased(row: tuple[Any, ...], lane: Lane) -> Leased:
    (
        id_, device, source, message_id, type_, received_at, facts, raw,
        attempts, first, done, refusal,
    ) = row  # fmt: skip
    event = Event(source, message_id, type_, received_at, facts, raw, device)
    if attempts is None:
        return Leased(id_, event, lane)
    return Leased(
        id_, event, lane, attempts, first, digests(done), refusal and _refusal.decode(refusal)
    )


def digests(done: bytes) -> frozenset[bytes]:
    return frozenset(done[at : at + DIGEST_BYTES] for at in range(0, len(done), DIGEST_BYTES))


def lanes_of(cursor: apsw.Cursor, source: str) -> tuple[Lane, Lane]:
    """The live and the bulk lane of a source; both are made at once."""
    select = "SELECT id FROM lanes WHERE source = ? ORDER BY bulk"
    ids: Any = cursor.execute(select, (source,)).fetchall()
    if not ids:
        for bulk in (False, True):
            cursor.execute("INSERT INTO lanes (source, bulk) VALUES (?, ?)", (source, bulk))
        ids = cursor.execute(select, (source,)).fetchall()
    return Lane(ids[0][0], source, bulk=False), Lane(ids[1][0], source, bulk=True)


#: An event, the device by which it is ordered, its lane, and its id if it has one already.
Placed = tuple[Event, int, Lane, int | None]


def insert_events(cursor: apsw.Cursor, events: Iterable[Placed]) -> None:
    insert_rows(
        cursor,
        "INSERT INTO events"
        " (id, lane, bulk, device, source, message_id, type, received_at, facts, raw)",
        [
            (
                id_, lane.id, lane.bulk, device, event.source, event.message_id, event.type,
                event.received_at, event.facts, event.raw,
            )
            for event, device, lane, id_ in events
        ],
    )  # fmt: skip


def insert_parked(cursor: apsw.Cursor, id_: int, device: int, parked: Parked) -> None:
    refusal = parked.refusal
    if refusal is not None:
        refusal = msgspec.structs.replace(refusal, outgoing=_without_secrets(refusal.outgoing))
    cursor.execute(
        "REPLACE INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            id_,
            device,
            storable(parked.app),
            parked.due,
            parked.attempts,
            parked.first_attempt_at,
            b"".join(sorted(parked.done)),
            refusal and msgspec.json.encode(refusal),
        ),
    )


def insert_behind(cursor: apsw.Cursor, device: int, ids: Iterable[int]) -> None:
    cursor.executemany(
        "INSERT OR IGNORE INTO parked VALUES (?, ?, NULL, 0, 0, NULL, x'', NULL)",
        ((id_, device) for id_ in ids),
    )


def bury(cursor: apsw.Cursor, leased: Leased, settlement: Settlement, now: float) -> None:
    request = settlement.request and _without_secrets(settlement.request)
    event = leased.event
    cursor.execute(
        "INSERT INTO dead VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            leased.id,
            event.source,
            event.message_id,
            event.type,
            event.received_at,
            now,
            leased.attempts + (request is not None),  # the last one ended it
            storable(settlement.reason),
            storable(settlement.detail),
            request
            and msgspec.json.encode(
                {**msgspec.structs.asdict(request), "body": request.body.decode()}
            ),
            settlement.response and msgspec.json.encode(settlement.response),
            event.facts,
            event.raw,
        ),
    )


def _without_secrets(request: Outgoing) -> Outgoing:
    headers = {
        name: "(not kept)" if name.lower() in _SECRET_HEADERS else value
        for name, value in request.headers.items()
    }
    return msgspec.structs.replace(request, headers=headers)


def storable(text: str) -> str:
    """A plugin's words may hold what is no text (lone surrogates), which SQLite refuses."""
    return text.encode("utf-8", "backslashreplace").decode()
