from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import Config
from proxy.event import Event
from proxy.identities.known import KnownDevices
from proxy.mapping.plugins import load_plugins
from proxy.pipeline import Pipeline
from proxy.receive.intake import read_batch, take_batch
from proxy.receive.slices import at_once
from proxy.sandbox.rules import link_problems, track_problems
from proxy.segment import Track
from proxy.states import Decision, Deliver, Fail, Filter, Hold
from tests.receive.strategies import messages, values
from tests.support import IOS_DEVICE, NOW, FakeClock, make_config, make_event

TRACK = {"type": "track", "event": "Tested", "userId": "u-1", "context": {"device": IOS_DEVICE}}
AUDIENCE = {
    "type": "identify",
    "userId": "u-1",
    "traits": {"vip": True},
    "context": {"personas": {"computation_key": "vip"}},
}


def make_pipeline(
    config: Config | None = None,
    trace: Callable[[str, object], None] = lambda *_: None,
    clock: FakeClock | None = None,
) -> Pipeline:
    config = config or make_config()
    return Pipeline(
        load_plugins(config, Path()),
        config,
        KnownDevices(lambda *_: [], None, FakeClock()),
        clock or FakeClock(),
        trace,
    )


def bodies(decision: Decision) -> list[dict[str, Any]]:
    assert isinstance(decision, Deliver)
    return [json.loads(planned.outgoing.body) for planned in decision.requests]


def test_an_event_becomes_the_bytes_to_send_with_its_message_beside_them() -> None:
    prepared = make_pipeline().prepare(make_event(TRACK))
    assert isinstance(prepared.message, Track)
    (body,) = bodies(prepared.decision)
    assert (body["action"], body["kochava_app_id"]) == ("event", "koacme-ios")


def test_what_is_dropped_teaches_nothing_about_its_devices() -> None:
    pipeline = make_pipeline()
    dropped = {**TRACK, "integrations": {"All": False}}
    assert pipeline.prepare(make_event(dropped)).decision == Filter("integrations")
    assert pipeline.prepare(make_event(AUDIENCE)).decision == Filter("no_device_id")


def test_what_an_event_teaches_serves_the_one_behind_it() -> None:
    pipeline = make_pipeline()
    pipeline.prepare(make_event(TRACK))
    (link,) = bodies(pipeline.prepare(make_event(AUDIENCE)).decision)
    assert link["device_id"]["idfv"] == IOS_DEVICE["id"]


def test_an_event_of_a_source_that_left_the_config_is_held() -> None:
    event = msgspec.structs.replace(make_event(TRACK), source="gone")
    prepared = make_pipeline().prepare(event)
    assert prepared.decision == Hold("source_not_in_config")
    assert prepared.message is not None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"raw": b"{"}, id="torn message"),
        pytest.param({"raw": b""}, id="no message"),
        pytest.param({"raw": b"[" * 100_000}, id="too deep"),
        pytest.param({"facts": b"{"}, id="torn facts"),
        pytest.param({"facts": b'{"context":7}'}, id="foreign facts"),
        pytest.param({"facts": b"\xff"}, id="facts that are no text"),
        pytest.param({"type": "refund"}, id="unknown type"),
        pytest.param({"type": ""}, id="no type"),
        pytest.param({"received_at": float("nan")}, id="no time"),
        pytest.param({"received_at": 1e300}, id="a time beyond all calendars"),
        pytest.param({"received_at": None}, id="null"),
        pytest.param({"raw": "text"}, id="text for bytes"),
    ],
)
def test_a_row_that_cannot_be_read_fails_alone(change: dict[str, Any]) -> None:
    pipeline = make_pipeline()
    prepared = pipeline.prepare(msgspec.structs.replace(make_event(TRACK), **change))
    assert prepared.message is None
    assert isinstance(prepared.decision, Fail)
    assert prepared.decision.reason == "undecodable"
    assert isinstance(pipeline.prepare(make_event(TRACK)).decision, Deliver)


def test_what_a_plugin_makes_that_json_cannot_hold_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "plugins.d").mkdir()
    (tmp_path / "plugins.d" / "odd.py").write_text(
        "from proxy import IdentityLink, hookimpl\n"
        "@hookimpl\n"
        "def map_track(message):\n"
        "    return IdentityLink(device_id={'idfa': 'x'}, data={'odd': object()})\n"
    )
    config = make_config()
    pipeline = Pipeline(
        load_plugins(config, tmp_path),
        config,
        KnownDevices(lambda *_: [], None, FakeClock()),
        FakeClock(),
    )
    decision = pipeline.prepare(make_event(TRACK)).decision
    assert isinstance(decision, Fail)
    assert decision.reason == "not_encodable"
    assert "object" in decision.detail


async def test_a_token_of_apples_is_not_sent_once_it_has_run_out() -> None:
    """However long the install has waited, or whoever replays it."""
    device = {**IOS_DEVICE, "adServicesToken": "token"}
    install = {"type": "track", "event": "Application Installed", "userId": "u-1",
               "context": {"device": device}}  # fmt: skip
    clock = FakeClock()
    pipeline = make_pipeline(clock=clock)
    (body,) = bodies(pipeline.prepare(make_event(install)).decision)
    assert body["data"]["ad_services_token"] == "token"
    await clock.advance(86_400)
    (late,) = bodies(pipeline.prepare(make_event(install)).decision)
    del body["data"]["ad_services_token"]
    assert late == body


def test_the_trace_hears_every_stage_in_order() -> None:
    heard: list[tuple[str, object]] = []
    prepared = make_pipeline(trace=lambda *said: heard.append(said)).prepare(make_event(TRACK))
    assert isinstance(prepared.decision, Deliver)
    planned = prepared.decision.requests
    assert heard == [
        ("decode", prepared.message),
        ("join", tuple(each.request for each in planned)),
        ("encode", planned),
    ]


def _accepted(message: Any, beside: dict[str, Any]) -> list[Event]:
    batch = at_once(read_batch(json.dumps({**beside, "batch": [message]}).encode()))
    return list(at_once(take_batch(batch, "acme", NOW, "198.51.100.1", lambda: "made")).events)


@settings(max_examples=300, deadline=None)
@given(
    message=messages,
    beside=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("context", "integrations", "sentAt"), values)
    ),
    signed=st.booleans(),
)
def test_whatever_the_door_lets_in_ends_as_requests_that_kochava_allows(
    message: dict[str, Any], beside: dict[str, Any], signed: bool
) -> None:
    keys = {"kochava_api_key": "key", "kochava_secret": "secret"} if signed else {}
    pipeline = make_pipeline(make_config({"traits": ["vip"], **keys}))
    for event in _accepted(message, beside):
        decision = pipeline.prepare(event).decision
        assert not isinstance(decision, Fail | Hold), decision
        assert pipeline.prepare(event).decision == decision  # the same again and again
        for planned in decision.requests if isinstance(decision, Deliver) else ():
            body, sent = json.loads(planned.outgoing.body), planned.outgoing
            link = "identityLink" in sent.url
            problems = link_problems(body) if link else track_problems(body, sent.headers)
            # A currency is passed on as it came: no other would be any truer.
            assert [problem for problem in problems if "currency" not in problem] == []
