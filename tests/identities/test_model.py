"""What is known of whose devices, against a dict, whatever is learnt in whatever order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.database import Database
from proxy.identities import known
from proxy.identities.known import KnownDevices
from tests.support import FakeClock, make_message

SOURCES = ("acme", "zoo")
USERS = ("u-1", "u-2")
ANONYMOUS = ("a-1", "a-2")

sources = st.sampled_from(SOURCES)
users = st.sampled_from((*USERS, None))
anonymous_ids = st.sampled_from((*ANONYMOUS, None))
device_ids = st.sampled_from([letter * 16 for letter in "abc"])
advertising_ids = st.sampled_from(["adv-1", "adv-2", None])


class IdentitiesMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        #: By source and person: device ids to advertising ids.
        self.model: defaultdict[tuple[str, str], dict[str, str | None]] = defaultdict(dict)
        self.open()

    def open(self) -> None:
        async def make() -> Database:
            return Database(self.folder / "spool.db", (known.SCHEMA,))

        self.database = self.loop.run_until_complete(make())
        self.devices = KnownDevices(self.database.read, self.database.write, self.clock)

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
            self.model[source, user] |= self.model[source, anonymous]
        for person in filter(None, (user, anonymous)):
            self.model[source, person][device] = advertising

    @rule(source=sources, user=st.sampled_from(USERS), before=st.sampled_from(USERS + ANONYMOUS))
    def alias(self, source: str, user: str, before: str) -> None:
        self.devices.learn(source, make_message("alias", user_id=user, previous_id=before))
        self.model[source, user] |= self.model[source, before]

    @rule(hours=st.integers(1, 30))
    def advance(self, hours: int) -> None:
        self.loop.run_until_complete(self.clock.advance(hours * 3_600))

    @rule()
    def write(self) -> None:
        async def wait() -> None:
            await self.database.write(lambda _: None)

        self.loop.run_until_complete(wait())

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.database.close())
        self.open()

    @invariant()
    def each_person_has_the_devices_that_were_seen_of_them(self) -> None:
        for source in SOURCES:
            for person in USERS + ANONYMOUS:
                kind = "user_id" if person in USERS else "anonymous_id"
                who: dict[str, Any] = {kind: person}
                answer = self.devices.devices_of(source, make_message(**who))
                found = {device.kochava_device_id: device.ids.get("adid") for device in answer}
                assert len(answer) == len(found)
                assert found == self.model[source, person]

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.loop.run_until_complete(self.database.close())
            self.loop.close()
            shutil.rmtree(self.folder)


TestIdentities = IdentitiesMachine.TestCase
TestIdentities.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
