"""Which devices belong to which user, and back, learnt from every message that carries both.

Engage's audience calls name a user and no device; Kochava's identity links need device ids, and its
postbacks name a device and no user. What is kept here joins these.

Of a user's devices a fact learnt can be looked up at once; of a device's user, once it is on the
disk. It is queued for the disk before the message that taught it is settled, so that no crash
loses the fact and keeps the settlement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import apsw
import msgspec

from proxy.clock import Clock
from proxy.config import Identities
from proxy.device import Device
from proxy.identities import lessons, rows
from proxy.identities.facts import Fact, Id, Person, before, ids_of, key_of, own_fact, persons_of
from proxy.identities.lessons import Lesson
from proxy.identities.recent import Recent
from proxy.identities.rows import MAX_DEVICES, Read
from proxy.identities.schema import SCHEMA
from proxy.segment import Alias, Identify, Identity, Message
from proxy.writes import Job, Work

__all__ = ["MAX_DEVICES", "SCHEMA", "KnownDevices", "Read", "Writer"]

_NO_BOUNDS: Final = Identities()


class Writer(Protocol):
    """As `proxy.database.Database`."""

    def write_job(
        self,
        job: Job[list[Id]],
        answered: Callable[[list[Id] | BaseException], None],
        *,
        must_land: bool,
    ) -> None: ...

    def write_item(
        self,
        work: Work[Lesson, list[Id]],
        item: Lesson,
        answered: Callable[[list[Id] | BaseException], None],
        *,
        must_land: bool,
        patient: bool,
    ) -> None: ...


class KnownDevices:
    """The devices of every user. Without `writer` it forgets what it learns with the process."""

    def __init__(
        self,
        read: Read,
        writer: Writer | None,
        clock: Clock,
        bounds: Identities = _NO_BOUNDS,
        *,
        shared: bool = False,
    ) -> None:
        """`shared` says that other processes learn and forget too."""
        self._read = read
        self._writer = writer
        self._clock = clock
        self._bounds = bounds
        self._shared = shared
        self._recent = Recent()
        self._unwritten: dict[Person, dict[str, Device]] = {}
        #: But still on the disk: persons, and devices ("d:" and the key) as those of nobody's name.
        self._forgotten: Counter[tuple[str, str]] = Counter()
        self._pruning = False

    # Learning

    def learn(self, source: str, message: Message) -> None:
        """Takes from a message what it says about whose device this is."""
        now = self._clock.now()
        own = own_fact(source, message)
        facts: list[Fact] = []
        if isinstance(message, (Alias, Identify)):  # most messages are neither
            facts += self._handed_over(source, message, own)
        if own is not None:
            facts.append(own)
        # All or none: what one of them has lost may be given again by another.
        for fact in facts:
            if not self._is_known(fact, now):
                break
        else:
            return
        for fact in facts:
            if fact.handed:
                self._recent.drop((source, id_) for id_ in fact.ids)
        if own is not None:
            self._recent.add(own, now)
        self._keep(facts)
        if self._writer is not None:
            self._store(source, message, facts, now)

    def _handed_over(
        self, source: str, message: Alias | Identify, own: Fact | None
    ) -> Iterable[Fact]:
        """The devices of who the user was until now, the last learnt last."""
        facts: dict[str, Fact] = {}
        if message.user_id:
            previous = message.previous_id if isinstance(message, Alias) else None
            for person in before(source, message):
                for device in reversed(self._find(person)):
                    key = key_of(device)
                    facts.pop(key, None)
                    facts[key] = Fact(
                        source, device, message.user_id, None, handed=True, previous=previous
                    )
        if own is not None and not own.silent:
            facts.pop(own.key, None)  # it knows better
        return facts.values()

    def _is_known(self, fact: Fact, now: float) -> bool:
        """Whether this was written lately, and is still there."""
        if not self._recent.covers(fact, now):
            return False
        if not self._shared:
            return True
        if any(fact.key in self._unwritten.get(person, ()) for person in fact.persons()):
            return True
        # One worker does not know what others have written, or whom they have forgotten.
        marks = ", ".join("?" * len(fact.ids))
        found = self._read(
            f"SELECT user_id, anonymous_id FROM device_ids WHERE source = ? AND id IN ({marks})",
            (fact.source, *fact.ids),
        )
        return len(found) == len(fact.ids) and all(
            fact.user_id in (None, user_id) and fact.anonymous_id in (None, anonymous_id)
            for user_id, anonymous_id in found
        )

    def _keep(self, facts: Iterable[Fact]) -> None:
        """In memory, until it is on the disk."""
        for fact in facts:
            if fact.silent:
                continue
            key = fact.key
            for person in fact.persons():
                unwritten = self._unwritten.setdefault(person, {})
                unwritten.pop(key, None)
                unwritten[key] = fact.device

    def _store(self, source: str, message: Message, facts: Sequence[Fact], now: float) -> None:
        assert self._writer is not None  # the caller has looked
        persons = persons_of(source, message) + before(source, message)
        lesson = Lesson(facts, persons, message.received_at.timestamp(), now, self._bounds)
        written = partial(self._written, facts)
        self._writer.write_item(lessons.store, lesson, written, must_land=True, patient=True)

    def _written(self, facts: Iterable[Fact], lost: list[Id] | BaseException) -> None:
        # A broken disk ends the process by itself; there is nothing to do about it here.
        if isinstance(lost, BaseException):
            return
        self._recent.drop(lost)
        for fact in facts:
            key = fact.key
            for person in fact.persons():
                devices = self._unwritten.get(person, {})
                if devices.get(key) is fact.device:
                    del devices[key]
                if not devices:
                    self._unwritten.pop(person, None)

    # Looking up

    def devices_of(self, source: str, message: Message) -> list[Device]:
        """The devices known of this message's user, each once, the last learnt first."""
        found: dict[str, Device] = {}
        for person in persons_of(source, message):
            for device in self._find(person):
                found.setdefault(key_of(device), device)
        return list(found.values())

    def owner_of(self, source: str, ids: Sequence[str]) -> Identity | None:
        """The last user and the last anonymous id that were seen with the first of these ids that
        any device is known by, in whatever case; None if there is none.
        """
        for id_ in ids:
            found = self._read(
                "SELECT user_id, anonymous_id FROM device_ids WHERE source = ? AND id = ?",
                (source, id_.lower().encode(errors="replace").decode()),  # it comes from anybody
            )
            for user_id, anonymous_id in found:
                persons = ((source, f"u:{user_id}"), (source, f"a:{anonymous_id}"))
                if self._forgotten and any(each in self._forgotten for each in persons):
                    continue  # to be removed in a moment
                return Identity(user_id=user_id, anonymous_id=anonymous_id)
        return None

    def _find(self, person: Person) -> list[Device]:
        found = dict(reversed(self._unwritten.get(person, {}).items()))
        if person in self._forgotten:
            return list(found.values())[:MAX_DEVICES]
        source, name = person
        nameless = name.startswith("a:")
        known = self._read(
            "SELECT device, details FROM devices WHERE source = ? AND person = ?"
            " ORDER BY seen_at DESC LIMIT ?",
            (*person, MAX_DEVICES),
        )
        for key, details in known:
            if nameless and self._forgotten and (source, f"d:{key}") in self._forgotten:
                continue
            with suppress(msgspec.MsgspecError):  # a foreign row must not stop the rest
                device = rows.decode(details)
                found.setdefault(key_of(device), device)
        return list(found.values())[:MAX_DEVICES]

    # Forgetting

    def forget(self, source: str, message: Message) -> None:
        """Everything about the user of a message, and whom without a name the user's devices are
        known by. What was received before the message is not learnt any more.
        """
        requested_at = message.received_at.timestamp()
        for person in persons_of(source, message):
            devices = self._find(person)
            self._recent.drop((source, id_) for device in devices for id_ in ids_of(device))
            self._unwritten.pop(person, None)
            gone = [person]
            if person[1].startswith("u:"):
                keys = {key_of(device) for device in devices}
                self._drop_unwritten(source, keys)
                gone += ((source, f"d:{key}") for key in keys)
            self._forgotten.update(gone)
            if self._writer is not None:
                job = partial(rows.forget, person=person, requested_at=requested_at)
                # Not by a future: a device that was learnt since, and is told to be on the disk in
                # the same turn, would be nobody's until that one's callback.
                self._writer.write_job(job, partial(self._deleted, gone), must_land=True)

    def _drop_unwritten(self, source: str, keys: Iterable[str]) -> None:
        for (of, name), devices in self._unwritten.items():
            if of == source and name.startswith("a:"):
                for key in keys:
                    devices.pop(key, None)

    def _deleted(self, gone: Sequence[tuple[str, str]], lost: list[Id] | BaseException) -> None:
        if isinstance(lost, BaseException):
            return  # as in `_written`
        self._recent.drop(lost)
        self._forgotten.subtract(gone)
        for each in gone:
            if self._forgotten[each] <= 0:
                del self._forgotten[each]

    def prune(self) -> None:
        """Removes a piece of what is too much or too old, if anything is. To be called about once
        a second: what was learnt before the bounds were as they are now, and what nobody adds to.
        """
        now = self._clock.now()
        if self._writer is None or self._pruning or not rows.is_prune_due(
            self._read, now, self._bounds
        ):  # fmt: skip
            return

        def job(cursor: apsw.Cursor) -> list[Id]:
            rows.prune_deletions(cursor, now, self._bounds, rows.PIECE)
            return rows.prune(cursor, now, self._bounds, rows.PIECE)

        def pruned(lost: list[Id] | BaseException) -> None:
            self._pruning = False
            if not isinstance(lost, BaseException):
                self._recent.drop(lost)

        self._pruning = True
        self._writer.write_job(job, pruned, must_land=False)
