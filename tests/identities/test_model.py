"""What is known of whose devices, both ways, against dicts, whatever is learnt and in any order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.config import Identities
from proxy.database import Database
from proxy.identities import known
from proxy.identities.facts import ids_of
from proxy.identities.known import KnownDevices
from proxy.identities.rows import decode
from proxy.segment import Identity
from tests.support import FakeClock, make_message

SOURCES = ("acme", "zoo")
USERS = ("u-1", "u-2")
ANONYMOUS = ("a-1", "a-2")
DEVICES = tuple(letter * 16 for letter in "abc")
ADVERTISING = ("Adv-1", "Adv-2")
FEW = 3

sources = st.sampled_from(SOURCES)
users = st.sampled_from((*USERS, None))
anonymous_ids = st.sampled_from((*ANONYMOUS, None))
device_ids = st.sampled_from(DEVICES)
advertising_ids = st.sampled_from((*ADVERTISING, None))

#: Source, and an id of a user, an anonymous one or one of a device.
Key = tuple[str, str]


class IdentitiesMachine(RuleBasedStateMachine):
    @initialize(at_once=st.booleans(), few=st.booleans())
    def begin(self, *, at_once: bool, few: bool) -> None:
        """`at_once`: nothing goes on before all is on the disk, as the way back is defined only
        then. `few`: as bounds are so small, less is known than the model says.
        """
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.at_once = at_once
        self.bounds = Identities(max_devices=FEW) if few else Identities()
        self.few = few
        #: By person: device ids to advertising ids.
        self.devices_of: defaultdict[Key, dict[str, str | None]] = defaultdict(dict)
        #: By any id of a device: user and anonymous id.
        self.owner_of: defaultdict[Key, dict[str, str]] = defaultdict(dict)
        self.open()

    def open(self) -> None:
        async def make() -> Database:
            return Database(self.folder / "spool.db", (known.SCHEMA,))

        self.database = self.loop.run_until_complete(make())
        self.devices = KnownDevices(self.database.read, self.database, self.clock, self.bounds)

    @rule(
        source=sources,
        type_=st.sampled_from(["track", "identify"]),
        user=users,
        anonymous=anonymous_ids,
        device=device_ids,
        advertising=advertising_ids,
    )
    def see(
        self,
        source: str,
        type_: str,
        user: str | None,
        anonymous: str | None,
        device: str,
        advertising: str | None,
    ) -> None:
        context = {"device": {"type": "android", "id": device, "advertisingId": advertising}}
        message = make_message(type_, user_id=user, anonymous_id=anonymous, context=context)
        self.devices.learn(source, message)
        if type_ == "identify" and user and anonymous:
            handed = {**self.devices_of[source, anonymous]}
            handed.pop(device, None)
            self.hand_over(source, handed, user, None)
        for person in filter(None, (user, anonymous)):
            self.put(source, person, device, advertising)
            for id_ in filter(None, (device, advertising)):
                self.owner_of[source, id_][_kind(person)] = person
        self.after()

    @rule(source=sources, user=st.sampled_from(USERS), before=st.sampled_from(USERS + ANONYMOUS))
    def alias(self, source: str, user: str, before: str) -> None:
        self.devices.learn(source, make_message("alias", user_id=user, previous_id=before))
        self.hand_over(source, {**self.devices_of[source, before]}, user, before)
        self.after()

    @rule(source=sources, user=users, anonymous=anonymous_ids)
    def forget(self, source: str, user: str | None, anonymous: str | None) -> None:
        message = make_message("delete", user_id=user, anonymous_id=anonymous)
        self.devices.forget(source, message)
        # A device that was no longer known as the user's stays known by nobody's name.
        if user and not self.few:
            for device in self.devices_of[source, user]:
                for nameless in ANONYMOUS:
                    self.take(source, nameless, [device])
        for person in filter(None, (user, anonymous)):
            self.take(source, person, list(self.devices_of[source, person]))
        self.after()

    def hand_over(
        self, source: str, devices: dict[str, str | None], user: str, previous: str | None
    ) -> None:
        for device, advertising in devices.items():
            self.put(source, user, device, advertising)
        for id_ in filter(None, (*devices.keys(), *devices.values())):
            owner = self.owner_of[source, id_]
            if owner.get("user_id") in (None, previous):
                owner["user_id"] = user

    def put(self, source: str, person: str, device: str, advertising: str | None) -> None:
        before = self.devices_of[source, person].get(device)
        if before != advertising:
            self.release(source, person, [before])
        self.devices_of[source, person][device] = advertising

    def take(self, source: str, person: str, devices: Iterable[str]) -> None:
        for device in devices:
            if device in self.devices_of[source, person]:
                advertising = self.devices_of[source, person].pop(device)
                self.release(source, person, [device, advertising])

    def release(self, source: str, person: str, ids: Iterable[str | None]) -> None:
        for id_ in filter(None, ids):
            owner = self.owner_of[source, id_]
            if owner.get(_kind(person)) == person:
                del owner[_kind(person)]

    @rule(hours=st.integers(1, 30))
    def advance(self, hours: int) -> None:
        self.loop.run_until_complete(self.clock.advance(hours * 3_600))

    @rule()
    def prune(self) -> None:
        self.devices.prune()
        self.after()

    @rule()
    def write(self) -> None:
        async def wait() -> None:
            await self.database.write(lambda _: None)
            await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    def after(self) -> None:
        if self.at_once:
            self.write()

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.database.close())
        self.open()

    @invariant()
    def each_person_has_the_devices_that_were_seen_of_them(self) -> None:
        for source in SOURCES:
            for person in USERS + ANONYMOUS:
                who: dict[str, Any] = {_kind(person): person}
                answer = self.devices.devices_of(source, make_message(**who))
                found = {device.kochava_device_id: device.ids.get("adid") for device in answer}
                assert len(answer) == len(found)
                if self.few:
                    assert set(found) <= set(self.devices_of[source, person])
                else:
                    assert found == self.devices_of[source, person]

    @invariant()
    def each_device_has_the_persons_that_were_last_seen_with_it(self) -> None:
        if not self.at_once or self.few:
            return
        for source in SOURCES:
            for id_ in (*DEVICES, *ADVERTISING):
                owner = self.owner_of[source, id_]
                expected = Identity(**owner) if owner else None
                assert self.devices.owner_of(source, ["unknown", id_.upper()]) == expected

    @invariant()
    def the_file_agrees_with_itself(self) -> None:
        with self.database._reader:  # one snapshot: the writer may be at work meanwhile
            rows = self.database.read("SELECT source, person, device, details FROM devices")
            number = self.database.read("SELECT number FROM device_count")
            owners = self.database.read("SELECT * FROM device_ids")
        assert number == [(len(rows),)]
        assert len(rows) <= self.bounds.max_devices
        there = {
            (source, person, id_)
            for source, person, device, details in rows
            for id_ in (device.lower(), *ids_of(decode(details)))
        }
        for source, id_, user_id, anonymous_id in owners:
            assert user_id or anonymous_id
            for person in (f"u:{user_id}", f"a:{anonymous_id}"):
                assert person[2:] == "None" or (source, person, id_) in there

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.loop.run_until_complete(self.database.close())
            self.loop.close()
            shutil.rmtree(self.folder)


def _kind(person: str) -> str:
    return "user_id" if person in USERS else "anonymous_id"


TestIdentities = IdentitiesMachine.TestCase
TestIdentities.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
