"""Writing whose devices are whose, and removing what is too much, too old or to be forgotten.

All of it works inside the writing transaction, on the tables of `proxy.identities.schema`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import apsw
import msgspec

from proxy.config import Identities
from proxy.device import Device
from proxy.identities.facts import Fact, Id, Person, ids_of
from proxy.identities.recent import DAY

MAX_DEVICES: Final = 100  # of one person; one id shared by more is no person
PIECE: Final = 500  # rows that are removed at once when nothing else is written

#: As `proxy.database.Database.read`.
Read = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Device).decode

IDS: Final = "INSERT INTO device_ids"
#: The last seen, but nobody where a message names nobody. Nothing is written if that was known.
OWN: Final = """
ON CONFLICT DO UPDATE SET user_id = coalesce(excluded.user_id, user_id),
    anonymous_id = coalesce(excluded.anonymous_id, anonymous_id)
WHERE user_id IS NOT coalesce(excluded.user_id, user_id)
    OR anonymous_id IS NOT coalesce(excluded.anonymous_id, anonymous_id)
"""
_OWN_ID: Final = f"{IDS} VALUES (?, ?, ?, ?) {OWN}"
#: A device that has passed to a third one meanwhile is not taken from that one.
_HAND_OVER: Final = """
INSERT INTO device_ids VALUES (?1, ?2, ?3, NULL) ON CONFLICT DO UPDATE
SET user_id = ?3 WHERE user_id IS NULL OR user_id = ?4
"""


def store(
    cursor: apsw.Cursor,
    facts: Sequence[Fact],
    persons: Sequence[Person],
    received_at: float,
    now: float,
    bounds: Identities,
) -> list[Id]:
    """Writes what a message that was received then says of these persons, unless any of them was
    deleted since. Answers of which ids less is known now than the facts say.
    """
    if any(_deleted_since(cursor, person, received_at) for person in persons):
        return [(fact.source, id_) for fact in facts for id_ in fact.ids]
    lost: list[Id] = []
    new: list[Person] = []
    # What is handed over first, so that what the message itself says comes last; of each lot all
    # that devices have lost is taken before anything is given, so that their order is no matter.
    for lot in ([fact for fact in facts if fact.handed == handed] for handed in (True, False)):
        for fact in lot:
            new += [each for each in fact.persons() if _put(cursor, each, fact, now, lost)]
        for fact in lot:
            statement = _HAND_OVER if fact.handed else _OWN_ID
            beside = fact.previous if fact.handed else fact.anonymous_id
            for id_ in fact.ids:
                cursor.execute(statement, (fact.source, id_, fact.user_id, beside))
    for person in dict.fromkeys(new):
        trim(cursor, person, lost)
    if new:
        # More than was added, so that what is too much gets less.
        lost += prune(cursor, now, bounds, 2 * len(new))
    return lost


def _deleted_since(cursor: apsw.Cursor, person: Person, moment: float) -> bool:
    found: Any = cursor.execute(
        "SELECT at > ? FROM deletions WHERE person = ?", (moment, digest(person))
    ).fetchone()
    return bool(found and found[0])


def _put(cursor: apsw.Cursor, person: Person, fact: Fact, now: float, lost: list[Id]) -> bool:
    """Whether the device is a new one of this person."""
    row = (*person, fact.key)
    found: Any = cursor.execute(
        "SELECT details, seen_at FROM devices WHERE source = ? AND person = ? AND device = ?", row
    ).fetchone()
    details = encode(fact.device)
    if found is None:
        cursor.execute("INSERT INTO devices VALUES (?, ?, ?, ?, ?)", (*row, details, now))
        return True
    before, seen_at = found
    if fact.silent:
        details = before
    if before == details and 0 <= now - seen_at < DAY:
        return False
    cursor.execute(
        "UPDATE devices SET details = ?, seen_at = ?"
        " WHERE source = ? AND person = ? AND device = ?",
        (details, now, *row),
    )
    if before != details:
        gone = set(_ids(fact.key, before)) - set(fact.ids)
        lost += _release(cursor, person, gone)
    return False


def trim(cursor: apsw.Cursor, person: Person, lost: list[Id]) -> None:
    """Removes the devices of a person beyond the last so many (-1: no limit behind the offset)."""
    values = (*person, MAX_DEVICES)
    more: Any = cursor.execute(  # hardly anybody has, and sorting costs more
        "SELECT 1 FROM devices WHERE source = ? AND person = ? LIMIT 1 OFFSET ?", values
    ).fetchone()
    if not more:
        return
    rows: Any = cursor.execute(
        "SELECT device, details FROM devices WHERE source = ? AND person = ?"
        " ORDER BY seen_at DESC LIMIT -1 OFFSET ?",
        values,
    ).fetchall()
    for device, details in rows:
        lost += _remove(cursor, person, device, details)


def forget(cursor: apsw.Cursor, person: Person, requested_at: float) -> list[Id]:
    """Removes a person, and those without a name whom the user's devices are known by. Answers the
    ids of the devices.
    """
    source, name = person
    lost: list[Id] = []
    rows: Any = cursor.execute(
        "SELECT device, details FROM devices WHERE source = ? AND person = ?", person
    ).fetchall()
    for device, _ in rows if name.startswith("u:") else ():
        nameless: Any = cursor.execute(
            # Else it would read all those of a source that have no name.
            "SELECT person, details FROM devices INDEXED BY devices_by_device"
            " WHERE source = ? AND device = ? AND person >= 'a:' AND person < 'a;'",
            (source, device),
        ).fetchall()
        for other, details in nameless:
            lost += _remove(cursor, (source, other), device, details)
            _note_deletion(cursor, (source, other), requested_at)
    for device, details in rows:
        lost += _remove(cursor, person, device, details)
    _note_deletion(cursor, person, requested_at)
    return lost


def _note_deletion(cursor: apsw.Cursor, person: Person, requested_at: float) -> None:
    cursor.execute(
        "INSERT INTO deletions VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
        (digest(person), requested_at),
    )


def is_prune_due(read: Read, now: float, bounds: Identities) -> bool:
    """Whether there is more than there should be. Costs the same however much there is."""
    found = read(
        "SELECT (SELECT number FROM device_count WHERE id = 0), (SELECT min(seen_at) FROM devices),"
        " (SELECT min(at) FROM deletions)",
        (),
    )
    number, *oldest = found[0] if found else (0, None, None)
    too_old = now - bounds.max_age_days * DAY
    return number > bounds.max_devices or any(at is not None and at < too_old for at in oldest)


def prune(cursor: apsw.Cursor, now: float, bounds: Identities, piece: int) -> list[Id]:
    """Removes what is too much or too old, the oldest first and at most so many rows. Answers the
    ids of these devices.
    """
    number, oldest = _number_and_oldest(cursor)
    too_many, too_old = number - bounds.max_devices, now - bounds.max_age_days * DAY
    lost: list[Id] = []
    if too_many > 0 or (oldest is not None and oldest < too_old):
        rows: Any = cursor.execute(
            "SELECT source, person, device, details, seen_at FROM devices ORDER BY seen_at LIMIT ?",
            (piece,),
        ).fetchall()
        for place, (source, person, device, details, seen_at) in enumerate(rows):
            if place < too_many or seen_at < too_old:
                lost += _remove(cursor, (source, person), device, details)
    return lost


def prune_deletions(cursor: apsw.Cursor, now: float, bounds: Identities, piece: int) -> None:
    """Removes at most so many that are older than any message that may still come again."""
    cursor.execute(
        "DELETE FROM deletions WHERE person IN"
        " (SELECT person FROM deletions WHERE at < ? ORDER BY at LIMIT ?)",
        (now - bounds.max_age_days * DAY, piece),
    )


def _number_and_oldest(cursor: apsw.Cursor) -> tuple[int, float | None]:
    found: Any = cursor.execute(
        "SELECT number, (SELECT min(seen_at) FROM devices) FROM device_count WHERE id = 0"
    ).fetchone()
    number, oldest = found
    return number, oldest


def _remove(cursor: apsw.Cursor, person: Person, device: str, details: bytes) -> list[Id]:
    """A device from a person; answers its ids."""
    cursor.execute(
        "DELETE FROM devices WHERE source = ? AND person = ? AND device = ?", (*person, device)
    )
    return _release(cursor, person, _ids(device, details))


def _release(cursor: apsw.Cursor, person: Person, ids: Iterable[str]) -> list[Id]:
    """Takes ids from a person; they are answered."""
    source, name = person
    column = "user_id" if name.startswith("u:") else "anonymous_id"
    released = [(source, id_) for id_ in ids]
    for each in released:
        cursor.execute(
            f"UPDATE device_ids SET {column} = NULL WHERE source = ? AND id = ? AND {column} = ?",
            (*each, name[2:]),
        )
        cursor.execute(
            "DELETE FROM device_ids WHERE source = ? AND id = ?"
            " AND user_id IS NULL AND anonymous_id IS NULL",
            each,
        )
    return released


def _ids(device: str, details: bytes) -> tuple[str, ...]:
    with suppress(msgspec.MsgspecError):  # a foreign row has no more than its key
        return ids_of(decode(details))
    return (device.lower(),)


def digest(person: Person) -> bytes:
    return hashlib.blake2b("\0".join(person).encode(errors="replace"), digest_size=16).digest()
