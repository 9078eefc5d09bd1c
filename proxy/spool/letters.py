"""Reading dead letters."""

from __future__ import annotations

from typing import Any, Final

import apsw
import msgspec


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


_COLUMNS: Final = (
    "id, source, message_id, type, received_at, died_at, attempts, reason, detail,"
    " CAST(request AS BLOB), CAST(response AS BLOB), CAST(raw AS BLOB)"
)


def read_letters(
    connection: apsw.Connection, source: str | None, reason: str | None, limit: int
) -> list[DeadLetter]:
    """The newest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM dead WHERE (?1 IS NULL OR source = ?1)"
        " AND (?2 IS NULL OR reason = ?2) ORDER BY id DESC LIMIT ?3",
        (source, reason, limit),
    )
    return [_letter(row) for row in rows]


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
