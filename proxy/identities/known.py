"""Which devices belong to which user, learnt from every message that carries both.

Engage's audience calls name a user and no device; Kochava's identity links need device ids. What
is kept here joins the two.

A fact learnt can be looked up at once, and is queued for the disk before the message that taught
it is settled, so that no crash loses the fact and keeps the settlement.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

import apsw
import msgspec

from proxy.clock import Clock
from proxy.database import Job
from proxy.device import Device, read_device
from proxy.segment import Alias, Identify, Message

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS devices (
    source  TEXT NOT NULL,
    person  TEXT NOT NULL,    -- "u:" and a user id, or "a:" and an anonymous id
    device  TEXT NOT NULL,    -- its kochava_device_id, or the first of its ids
    details BLOB NOT NULL,    -- Device as JSON
    seen_at REAL NOT NULL,
    PRIMARY KEY (source, person, device)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (
    id    INTEGER PRIMARY KEY CHECK (id = 0),
    times INTEGER NOT NULL    -- that somebody was, by whichever worker
);
INSERT OR IGNORE INTO forgotten VALUES (0, 0);
"""

MAX_DEVICES: Final = 100  # of one person; one id shared by more is no person
_MAX_RECENT: Final = 50_000  # facts remembered as written, to spare writing them again
_DAY: Final = 86_400.0

#: The devices of a person beyond the last so many (-1: no limit behind the offset).
_TRIM: Final = """
DELETE FROM devices WHERE source = ?1 AND person = ?2 AND device IN (
    SELECT device FROM devices WHERE source = ?1 AND person = ?2
    ORDER BY seen_at DESC LIMIT -1 OFFSET ?3
)
"""

Person = tuple[str, str]
Read = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


class Write(Protocol):
    """As `proxy.database.Database.write`."""

    def __call__(self, job: Job[None], *, must_land: bool) -> asyncio.Future[None]: ...


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Device).decode


class KnownDevices:
    """The devices of every user. Without `write` it forgets what it learns with the process."""

    def __init__(
        self, read: Read, write: Write | None, clock: Clock, *, shared: bool = False
    ) -> None:
        """`shared` says that other processes learn and forget too."""
        self._read = read
        self._shared = shared
        self._times_forgotten = 0
        self._write = write
        self._clock = clock
        self._unwritten: dict[Person, dict[str, Device]] = {}
        self._forgotten: Counter[Person] = Counter()  # but still on the disk
        self._recent: OrderedDict[tuple[Person, str], tuple[bytes, float]] = OrderedDict()

    def learn(self, source: str, message: Message) -> None:
        """Takes from a message what it says about whose device this is."""
        if message.user_id:
            for person in _before(source, message):
                for known in reversed(self._find(person)):
                    self._add((source, f"u:{message.user_id}"), known)
        device = read_device(message)
        # A device that may not be tracked any more takes the place of what was known of it.
        if device is not None and (device.ids or device.limit_tracking):
            for person in _persons(source, message):
                self._add(person, device)

    def forget(self, source: str, message: Message) -> None:
        """Everything about the user of a message."""
        for person in _persons(source, message):
            for device in self._find(person):
                self._recent.pop((person, _key(device)), None)
            self._unwritten.pop(person, None)
            self._forgotten[person] += 1
            if self._write is not None:
                deleted = self._write(partial(_delete, person=person), must_land=True)
                deleted.add_done_callback(partial(self._deleted, person))

    def _deleted(self, person: Person, future: asyncio.Future[None]) -> None:
        if future.cancelled() or future.exception() is not None:
            return  # as in `_store`
        self._forgotten[person] -= 1
        if not self._forgotten[person]:
            del self._forgotten[person]

    def devices_of(self, source: str, message: Message) -> list[Device]:
        """The devices known of this message's user, each once, the last learnt first."""
        found: dict[str, Device] = {}
        for person in _persons(source, message):
            for device in self._find(person):
                found.setdefault(_key(device), device)
        return list(found.values())

    def _find(self, person: Person) -> list[Device]:
        found = dict(reversed(self._unwritten.get(person, {}).items()))
        if person in self._forgotten:
            return list(found.values())[:MAX_DEVICES]
        rows = self._read(
            "SELECT details FROM devices WHERE source = ? AND person = ?"
            " ORDER BY seen_at DESC LIMIT ?",
            (*person, MAX_DEVICES),
        )
        for (details,) in rows:
            with suppress(msgspec.MsgspecError):  # a foreign row must not stop the rest
                device = _decode(details)
                found.setdefault(_key(device), device)
        return list(found.values())[:MAX_DEVICES]

    def _add(self, person: Person, device: Device) -> None:
        # Whose it is lasts; tracking consent is a matter of the moment and goes with each message.
        device = Device(device.platform, device.kochava_device_id, device.ids)
        details = _encode(device)
        now = self._clock.now()
        key = _key(device)
        if self._is_recent(person, key, details, now):
            return
        self._recent[person, key] = details, now
        if len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)
        unwritten = self._unwritten.setdefault(person, {})
        unwritten.pop(key, None)
        unwritten[key] = device
        if self._write is not None:
            self._store(person, key, details, now, device)

    def _is_recent(self, person: Person, key: str, details: bytes, now: float) -> bool:
        """Whether this was written lately, and is still there."""
        before, seen_at = self._recent.get((person, key), (b"", 0.0))
        if before != details or now - seen_at >= _DAY:
            return False
        if not self._shared:
            return True
        # One worker does not know whom another has forgotten, only that somebody was.
        times = self._read("SELECT times FROM forgotten", ())[0][0]
        if times == self._times_forgotten:
            return True
        self._times_forgotten = times
        self._recent.clear()
        return False

    def _store(self, person: Person, key: str, details: bytes, now: float, device: Device) -> None:
        def job(cursor: apsw.Cursor) -> None:
            cursor.execute(
                "REPLACE INTO devices VALUES (?, ?, ?, ?, ?)", (*person, key, details, now)
            )
            cursor.execute(_TRIM, (*person, MAX_DEVICES))

        def written(future: asyncio.Future[None]) -> None:
            # A broken disk ends the process by itself; there is nothing to do about it here.
            if future.cancelled() or future.exception() is not None:
                return
            devices = self._unwritten.get(person, {})
            if devices.get(key) is device:
                del devices[key]
            if not devices:
                self._unwritten.pop(person, None)

        assert self._write is not None  # the caller has looked
        self._write(job, must_land=True).add_done_callback(written)


def _delete(cursor: apsw.Cursor, person: Person) -> None:
    cursor.execute("DELETE FROM devices WHERE source = ? AND person = ?", person)
    cursor.execute("UPDATE forgotten SET times = times + 1")


def _persons(source: str, message: Message) -> list[Person]:
    ids = (("u", message.user_id), ("a", message.anonymous_id))
    return [(source, f"{kind}:{id_}") for kind, id_ in ids if id_]


def _before(source: str, message: Message) -> list[Person]:
    """Who the user of this message was until now."""
    if isinstance(message, Alias):
        return [(source, f"u:{message.previous_id}"), (source, f"a:{message.previous_id}")]
    if isinstance(message, Identify) and message.anonymous_id:
        return [(source, f"a:{message.anonymous_id}")]
    return []


def _key(device: Device) -> str:
    return device.kochava_device_id or next(iter(device.ids.values()))
