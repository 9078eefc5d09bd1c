"""What holds for every message, however odd: mapping never breaks, never differs, never mutates."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.decode import decode_event
from proxy.event import Event
from proxy.mapping.dispatch import Dispatcher, Requests
from proxy.mapping.plugins import load_plugins
from proxy.postback import NAMES
from proxy.receive.intake import read_batch, take_batch
from proxy.receive.slices import at_once
from proxy.sandbox.rules import link_problems, track_problems
from proxy.segment import Identity
from proxy.states import Deliver, Filter
from proxy.translate import amount
from tests.plugins.cases import FOLDER, TRACK_URL, make_pipeline, map_postback
from tests.support import NOW, make_config

#: A run that fails is to be about what was changed, not about luck or a busy machine.
steady = settings(deadline=None, derandomize=True, max_examples=200)

CONFIG = make_config({"kochava_app_id": "koacme", "traits": ["plan"], "consent_categories": ["C1"]})
PIPELINE = make_pipeline(CONFIG, FOLDER)
SOURCE = CONFIG.sources[0].public()
PLUGINS = load_plugins(CONFIG, FOLDER)
DISPATCHER = Dispatcher(PLUGINS, lambda *_: [])

# Text that UTF-8 can hold; numbers that JSON can.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
told = st.sampled_from([
    "ios", "android", "iAd", "Apple", "unknown", "authorized", "true",
    "9.99", "$1,299.00", "0.0.0.0", "9f1c3a5e7b2d4068",
    "00000000-0000-0000-0000-000000000000", "2025-12-01T10:30:00Z",
])  # fmt: skip
scalar = st.none() | st.booleans() | number | text | told


def _object(keys: st.SearchStrategy[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(keys, values, max_size=5)


anything = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | _object(text, inner), max_leaves=8
)


def _known(*keys: str) -> st.SearchStrategy[Any]:
    """An object with these keys, or with others, or something else altogether."""
    return _object(st.sampled_from(keys) | text, anything) | anything


device = st.fixed_dictionaries(
    {"type": st.sampled_from(["ios", "android"]) | anything},
    optional=dict.fromkeys(
        ("id", "advertisingId", "advertising_id", "adTrackingEnabled", "model",
         "attTrackingStatus", "trackingStatus", "adServicesToken"),
        told | st.booleans() | anything,
    ),
)  # fmt: skip
context = st.fixed_dictionaries(
    {},
    optional={
        "device": device | anything,
        "os": _known("name", "version"),
        "app": _known("version"),
        "library": _known("name"),
        "campaign": _known("source", "provider", "name", "id", "attribution"),
        "personas": _known("computation_key"),
        "ip": anything,
        "userAgent": anything,
    },
)
properties = _object(
    st.sampled_from(
        [
            "revenue",
            "total",
            "sum",
            "source",
            "campaign",
            "segment_source",
            "provider",
            "plan",
            "audience_key",
            "trait_key",
        ]
    )
    | text,
    anything,
)
message = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "identify", "screen", "page", "group", "alias"]),
        "event": st.sampled_from(
            [
                "Application Installed",
                "Order Completed",
                "Tested",
                "Audience Entered",
                "Trait Computed",
            ]
        ),
        "anonymousId": st.just("a-1"),
        "userId": st.just("u-1"),
        "previousId": st.just("p-1"),
        "groupId": st.just("g-1"),
        "context": context,
    },
    optional={
        "properties": properties,
        "traits": properties,
        "name": st.none() | text,
        "timestamp": anything,
        "integrations": _known("All", "Kochava") | st.none(),
    },
)


def _events(content: dict[str, Any]) -> Iterator[Event]:
    """The message as it lies in the spool; nothing where the door refuses it."""
    batch = at_once(read_batch(json.dumps({"batch": [content]}).encode()))
    yield from at_once(take_batch(batch, "acme", NOW, None, lambda: "m-1")).events


@steady
@given(message)
def test_the_built_ins_never_break_on_a_message(content: dict[str, Any]) -> None:
    for event in _events(content):
        assert isinstance(PIPELINE.prepare(event).decision, Deliver | Filter)


@steady
@given(message)
def test_what_is_sent_is_what_kochava_asks_for(content: dict[str, Any]) -> None:
    for event in _events(content):
        decision = PIPELINE.prepare(event).decision
        for each in decision.requests if isinstance(decision, Deliver) else ():
            body = json.loads(each.outgoing.body)
            if each.outgoing.url == TRACK_URL:
                assert track_problems(body, each.outgoing.headers) == []
                assert None not in body["data"].get("event_data", {}).values()
            else:
                assert link_problems(body) == []
                assert None not in body["data"].values()


@steady
@given(message)
def test_the_same_event_gives_the_same_bytes_and_stays_as_it_was(content: dict[str, Any]) -> None:
    for event in _events(content):
        first, again = PIPELINE.prepare(event), PIPELINE.prepare(event)
        assert first.decision == again.decision
        decoded = decode_event(event)
        kept = copy.deepcopy(decoded)
        mapped = DISPATCHER.map(decoded, SOURCE)
        assert decoded == kept
        if isinstance(mapped, Requests):
            msgspec.json.encode(mapped)


fields = st.dictionaries(
    st.sampled_from([*NAMES, "provider", "campaign", "country"]) | text,
    text | told | st.sampled_from(["_install", "Organic", "false", "0", "1767225600"]),
)
identity = st.none() | st.builds(Identity, user_id=st.none() | text, anonymous_id=st.none() | text)


@steady
@given(fields, identity)
def test_a_postback_becomes_one_call_of_somebody_that_can_come_round_or_is_filtered(
    given: dict[str, str], identity: Identity | None
) -> None:
    result = map_postback(CONFIG, PLUGINS, given, identity)
    assert result == map_postback(CONFIG, PLUGINS, given, identity)
    if result.outcome == "filtered":
        assert result.reason in {"unmapped", "no_device_id"}
        return
    (request,) = result.requests
    track = request["body"]
    assert track.get("user_id") or track.get("anonymous_id")
    device = (track.get("context") or {}).get("device") or {}
    ids = {key: said for key, said in device.items() if key != "type"}  # which may be any word
    assert "00000000-0000-0000-0000-000000000000" not in json.dumps(ids)
    again = {
        "type": "track", "event": track["event"], "properties": track["properties"],
        "context": track.get("context"), "userId": "u-1", "timestamp": track["timestamp"],
    }  # fmt: skip
    (event,) = _events(again)
    assert PIPELINE.prepare(event).decision == Filter("loop")


@steady
@given(anything)
def test_an_amount_is_a_finite_number_or_none(value: object) -> None:
    found = amount(value)
    assert found is None or math.isfinite(found)
