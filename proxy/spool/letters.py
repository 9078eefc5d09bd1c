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
    " request, response, raw"
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
    return DeadLetter(*plain, *(msgspec.Raw(json or b"null") for json in (request, response, raw)))
