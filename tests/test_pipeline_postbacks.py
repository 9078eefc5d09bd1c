"""From a stored postback to what Segment is to be sent, joined with whom its device belongs to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.event import Event
from proxy.identities.known import KnownDevices
from proxy.mapping.plugins import load_plugins
from proxy.pipeline import Pipeline
from proxy.segment import Identity, Postback
from proxy.states import Decision, Deliver, Fail, Filter, Hold
from tests.support import NOW, FakeClock, make_config

KEYS = {"segment_write_key": "wk_segment", "postback_token": "token"}
INSTALL = {
    "event_name": "_install",
    "kochava_device_id": "d-1",
    "idfa": "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60",
    "network_name": "Acme Ads",
    "campaign": "Spring",
}
AUDIENCE = {
    "type": "identify",
    "userId": "u-9",
    "traits": {"vip": True},
    "context": {"personas": {"computation_key": "vip"}},
}
SOMEBODY = """
from proxy import Filtered, SegmentTrack, hookimpl

@hookimpl
def map_postback(postback, identity):
    if identity is None:
        raise Filtered("of_nobody")
    return SegmentTrack(
        event="Known", message_id=postback.message_id, user_id=identity.user_id, properties={}
    )
"""
USER = Identity(user_id="u-1", anonymous_id="a-1")


class Owners(KnownDevices):
    """Whose each device is, in the hands of the test."""

    def __init__(self) -> None:
        super().__init__(lambda *_: [], None, FakeClock())
        self.of: dict[str, Identity] = {}

    def owner_of(self, source: str, ids: Sequence[str]) -> Identity | None:
        return next((self.of[id_] for id_ in ids if id_ in self.of), None)


class Bench:
    def __init__(
        self, source: dict[str, Any] | None = None, *, base: Path = Path(), **tables: Any
    ) -> None:
        config = make_config({**KEYS, **(source or {})}, **tables)
        self.owners = Owners()
        self.clock = FakeClock()
        plugins = load_plugins(config, base)
        self.pipeline = Pipeline(plugins, config, self.owners, self.clock)

    def decide(self, fields: dict[str, str] | bytes | None = None) -> Decision:
        raw = fields if isinstance(fields, bytes) else msgspec.json.encode(fields or INSTALL)
        event = Event("acme", "kochava-1", Postback.type, NOW, b"{}", raw)
        return self.pipeline.prepare(event).decision

    def body(self, fields: dict[str, str] | None = None) -> dict[str, Any]:
        decision = self.decide(fields)
        assert isinstance(decision, Deliver)
        (planned,) = decision.requests
        body: dict[str, Any] = json.loads(planned.outgoing.body)
        return body


def test_the_postback_of_a_user_who_is_known_goes_out_at_once() -> None:
    bench = Bench()
    bench.owners.of["d-1"] = USER
    body = bench.body()
    assert (body["event"], body["messageId"]) == ("Install Attributed", "kochava-1")
    assert (body["userId"], body["anonymousId"]) == ("u-1", "a-1")
    assert body["properties"]["provider"] == "Kochava"
    assert body["properties"]["campaign"]["source"] == "Acme Ads"


async def test_one_whose_device_nobody_has_seen_waits_and_then_goes_with_the_device() -> None:
    bench = Bench(postbacks={"hold_seconds": 10, "user_hold_seconds": 3})
    looks = []
    while isinstance(decision := bench.decide(), Hold):
        assert decision.reason == "device_not_seen_yet"
        assert decision.seconds is not None
        looks.append(decision.seconds)
        await bench.clock.advance(decision.seconds)
    # Each time that it is twice as old, and when its time is up.
    assert looks == [1, 1, 2, 4, 2]
    body = bench.body()
    assert body["anonymousId"] == "d-1"
    assert "userId" not in body


async def test_one_whose_user_nobody_knows_waits_less_and_goes_with_the_anonymous_id() -> None:
    bench = Bench(postbacks={"hold_seconds": 10, "user_hold_seconds": 3})
    bench.owners.of["d-1"] = Identity(anonymous_id="a-1")
    assert bench.decide() == Hold("user_not_known_yet", 1.0)
    await bench.clock.advance(1)
    bench.owners.of["d-1"] = USER
    assert bench.body()["userId"] == "u-1"
    bench.owners.of["d-1"] = Identity(anonymous_id="a-1")
    await bench.clock.advance(2)
    body = bench.body()
    assert body["anonymousId"] == "a-1"
    assert "userId" not in body


async def test_a_plugin_that_wants_somebody_is_asked_again_once_one_may_be_known(
    tmp_path: Path,
) -> None:
    (tmp_path / "plugins.d").mkdir()
    (tmp_path / "plugins.d" / "somebody.py").write_text(SOMEBODY)
    bench = Bench(base=tmp_path, postbacks={"hold_seconds": 10, "user_hold_seconds": 3})
    assert bench.decide() == Hold("device_not_seen_yet", 1.0)
    bench.owners.of["d-1"] = USER
    assert bench.body()["userId"] == "u-1"
    del bench.owners.of["d-1"]
    await bench.clock.advance(10)
    assert bench.decide() == Filter("of_nobody")


def test_the_device_is_found_by_any_of_its_ids() -> None:
    bench = Bench()
    bench.owners.of[INSTALL["idfa"]] = USER
    assert bench.body({**INSTALL, "kochava_device_id": "{kochava_device_id}"})["userId"] == "u-1"


def test_what_nobody_will_ever_know_does_not_wait() -> None:
    bench = Bench()
    assert bench.decide({"event_name": "_install", "network": "x"}) == Filter("no_device_id")
    assert bench.decide({**INSTALL, "event_name": "Purchase"}) == Filter("unmapped")


def test_a_clock_that_was_set_back_makes_no_wait_longer() -> None:
    bench = Bench(postbacks={"hold_seconds": 600})
    bench.clock.set_back(3_600)
    assert bench.decide() == Hold("device_not_seen_yet", 1.0)


def test_without_a_key_for_segment_it_is_kept() -> None:
    bench = Bench({"segment_write_key": "", "postback_token": ""})
    assert bench.decide() == Hold("segment_write_key_not_in_config")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a":1}', b'{"a":"\xff"}'])
def test_a_foreign_row_goes_to_the_dead_letters(raw: bytes) -> None:
    assert Bench().decide(raw) == Fail("undecodable", "bad_request")


def test_other_names_of_parameters_come_from_the_config() -> None:
    bench = Bench(postbacks={"parameters": {"network": "partner", "kochava_device_id": ["kdid"]}})
    bench.owners.of["d-2"] = USER
    body = bench.body({"kdid": "d-2", "partner": "Other", "network_name": "Acme Ads"})
    assert body["userId"] == "u-1"
    assert body["properties"]["campaign"]["source"] == "Other"


class TestAudienceOfAUserWithoutDevices:
    def decide(self, bench: Bench) -> Decision:
        raw = msgspec.json.encode(AUDIENCE)
        return bench.pipeline.prepare(Event("acme", "m", "identify", NOW, b"{}", raw)).decision

    def test_it_is_filtered_at_once(self) -> None:
        assert self.decide(Bench()) == Filter("no_device_id")

    async def test_it_waits_where_the_config_says_so(self) -> None:
        bench = Bench(identities={"hold_seconds": 5})
        assert self.decide(bench) == Hold("no_device_yet", 1.0)
        await bench.clock.advance(5)
        assert self.decide(bench) == Filter("no_device_id")
