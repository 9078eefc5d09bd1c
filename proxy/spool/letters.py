"""Dead letters: read, put back into the queue, or thrown away."""

from __future__ import annotations

from typing import Any, Final

import apsw
import msgspec

from proxy.event import Event
from proxy.placing import place_event
from proxy.spool import ledger, rows
from proxy.spool.persons import Persons


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that could not be delivered. Times are epoch seconds; `message`, `request` and
    `response` are JSON as it was, the last two null where nothing was sent or answered.
    """

    id: int
    source: str
    message_id: str
    type: str
    received_at: float
    died_at: float
    attempts: int
    reason: str
    detail: str
    request: msgspec.Raw
    response: msgspec.Raw
    message: msgspec.Raw


class Which(msgspec.Struct, frozen=True):
    """Those of a source, of a reason, that died at or after and before a time (epoch seconds);
    None leaves a choice open.
    """

    source: str | None = None
    reason: str | None = None
    since: float | None = None
    until: float | None = None


_WHERE: Final = (
    "(?1 IS NULL OR source = ?1) AND (?2 IS NULL OR reason = ?2)"
    " AND (?3 IS NULL OR died_at >= ?3) AND (?4 IS NULL OR died_at < ?4)"
)
_COLUMNS: Final = (
    "id, source, message_id, type, received_at, died_at, attempts, reason, detail,"
    " CAST(request AS BLOB), CAST(response AS BLOB), CAST(raw AS BLOB)"
)


def read_letters(connection: apsw.Connection, which: Which, limit: int) -> list[DeadLetter]:
    """The newest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM dead WHERE {_WHERE} ORDER BY id DESC LIMIT ?5",
        (*msgspec.structs.astuple(which), limit),
    )
    return [_letter(row) for row in rows]


def count_letters(connection: apsw.Connection, which: Which) -> tuple[int, int]:
    """How many there are, and the id of the last, 0 if there are none."""
    found: Any = connection.execute(
        f"SELECT count(*), coalesce(max(id), 0) FROM dead WHERE {_WHERE}",
        msgspec.structs.astuple(which),
    ).fetchall()
    number, last = found[0]
    return number, last


def replay_letters(cursor: apsw.Cursor, which: Which, last: int, limit: int) -> int:
    """Puts the oldest of them, up to the one with the id `last`, back into the queue as new
    events: decided anew, in the order in which they had come. How many these were.
    """
    rows_: Any = cursor.execute(
        f"SELECT id, source, message_id, type, received_at, facts, raw FROM dead WHERE {_WHERE}"
        " AND id <= ?5 ORDER BY id LIMIT ?6",
        (*msgspec.structs.astuple(which), last, limit),
    ).fetchall()
    persons = Persons()
    for id_, source, message_id, type_, received_at, facts, raw in rows_:
        event = Event(source, message_id, type_, received_at, facts, raw)
        placed = place_event(event)
        event = Event(
            source, message_id, type_, received_at, facts, raw, **msgspec.structs.asdict(placed)
        )
        lane = rows.lanes_of(cursor, source)[placed.computed]
        (device,) = persons.devices(cursor, [event])
        rows.insert_events(cursor, [(event, device, lane, None)])
        cursor.execute("DELETE FROM dead WHERE id = ?", (id_,))
        ledger.count_replayed(cursor, source)
    return len(rows_)


def purge_letters(cursor: apsw.Cursor, which: Which, last: int, limit: int) -> int:
    """Throws the oldest of them away, up to the one with the id `last`; the ledger still counts
    them as dead. How many these were.
    """
    cursor.execute(
        "DELETE FROM dead WHERE id IN"
        f" (SELECT id FROM dead WHERE {_WHERE} AND id <= ?5 ORDER BY id LIMIT ?6)",
        (*msgspec.structs.astuple(which), last, limit),
    )
    return cursor.connection.changes()


def read_letter(connection: apsw.Connection, letter_id: int) -> DeadLetter | None:
    """The one with this id, if there is one."""
    rows = list(connection.execute(f"SELECT {_COLUMNS} FROM dead WHERE id = ?", (letter_id,)))
    return _letter(rows[0]) if rows else None


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    *plain, request, response, raw = row
    return DeadLetter(*plain, *(_as_json(each) for each in (request, response, raw)))


def _as_json(stored: bytes | None) -> msgspec.Raw:
    """A message may be here because it cannot be read: then it is shown as text."""
    try:
        msgspec.json.decode(stored or b"null")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode((stored or b"").decode("utf-8", "replace")))
    return msgspec.Raw(stored or b"null")
