from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.decode import decode_event, read_wire
from proxy.errors import Refused
from proxy.event import Event, Facts
from proxy.receive.jsontext import mend_surrogates
from proxy.receive.slices import at_once
from proxy.segment import Alias, Group, Identify, Message, Page, Screen, Track
from tests.receive.strategies import messages, values
from tests.support import NOW, make_event

BASE: dict[str, Any] = {"type": "track", "event": "Tested", "userId": "u-1"}


def decode(message: dict[str, Any], **facts: Any) -> Message:
    return decode_event(make_event({**BASE, **message}, facts=facts))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": None}, "missing_type"),
        ({"type": "delete"}, "invalid_type"),
        ({"type": ["track"]}, "invalid_type"),
        ({"userId": None}, "no_user_anon_id"),
        ({"userId": "", "anonymousId": ""}, "no_user_anon_id"),
        ({"messageId": 7}, "id_not_string"),
        ({"userId": 7}, "id_not_string"),
        ({"anonymousId": True}, "id_not_string"),
        ({"previousId": []}, "id_not_string"),
        ({"groupId": {}}, "id_not_string"),
        ({"event": None}, "event_not_defined"),
        ({"event": ""}, "event_not_defined"),
        ({"event": 7}, "event_not_string"),
        ({"name": 7}, "name_not_string"),
        ({"category": 7}, "category_not_string"),
        ({"properties": []}, "properties_not_object"),
        ({"traits": "none"}, "traits_not_object"),
        ({"context": []}, "context_not_object"),
        ({"integrations": True}, "integrations_not_object"),
        ({"type": "group"}, "id_required"),
        ({"type": "group", "groupId": ""}, "id_required"),
        ({"type": "alias"}, "id_required"),
        ({"type": "alias", "userId": None, "anonymousId": "a", "previousId": "p"}, "id_required"),
        ({"context": {"device": {"advertisingId": 7}}}, "device_advertisingid_should_be_string"),
        ({"context": {"device": {"advertising_id": {}}}}, "device_advertisingid_should_be_string"),
        ({"context": {"consent": {}}}, "consent_categorypreferences_should_exist"),
        ({"context": {"consent": "yes"}}, "consent_categorypreferences_should_exist"),
        (
            {"context": {"consent": {"categoryPreferences": ["C1"]}}},
            "consent_categorypreferences_fields_should_be_object",
        ),
        (
            {"context": {"consent": {"categoryPreferences": {"C1": "true"}}}},
            "consent_categorypreferences_fields_should_be_bool",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_what_is_wrong_has_segments_name(message: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        read_wire(json.dumps({**BASE, **message}).encode())
    assert caught.value.reason == reason


def test_nulls_say_nothing() -> None:
    nothing = dict.fromkeys([
        "messageId", "anonymousId", "previousId", "groupId", "name", "category", "properties",
        "traits", "context", "integrations", "timestamp", "originalTimestamp", "sentAt",
        "receivedAt", "writeKey", "_metadata",
    ])  # fmt: skip
    assert decode(nothing) == decode({})
    assert decode({"context": {"device": None, "consent": None}}).context == {
        "device": None, "consent": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "class_", "fields"),
    [
        ({"properties": {"n": 1}}, Track, {"event": "Tested", "properties": {"n": 1}}),
        ({"type": "identify", "traits": {"n": 1}}, Identify, {"traits": {"n": 1}}),
        ({"type": "screen", "name": "Home"}, Screen, {"name": "Home", "properties": {}}),
        ({"type": "screen", "name": ""}, Screen, {"name": None}),
        ({"type": "page", "category": "c"}, Page, {"name": None, "properties": {"category": "c"}}),
        (
            {"type": "page", "category": "c", "properties": {"category": "mine"}},
            Page,
            {"properties": {"category": "mine"}},
        ),
        ({"type": "group", "groupId": "g"}, Group, {"group_id": "g", "traits": {}}),
        ({"type": "alias", "previousId": "p"}, Alias, {"user_id": "u-1", "previous_id": "p"}),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value.__name__,
)
def test_each_type_has_its_fields(
    message: dict[str, Any], class_: type[Message], fields: dict[str, Any]
) -> None:
    decoded = decode(message)
    assert type(decoded) is class_
    assert {name: getattr(decoded, name) for name in fields} == fields


def test_the_path_names_the_type_whatever_the_message_says() -> None:
    assert read_wire(b'{"type":"track","userId":"u"}', "identify").type == "identify"


def test_the_id_kept_in_the_row_is_the_messages_own() -> None:
    """One that came without got its id at the door; it must not change at every reading."""
    assert decode_event(make_event(BASE, message_id="made")).message_id == "made"


@pytest.mark.parametrize(
    ("batch", "message", "merged"),
    [
        ({"a": 1}, None, {"a": 1}),
        (None, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"app": {"n": 1, "v": 1}}, {"app": {"v": 2}}, {"app": {"n": 1, "v": 2}}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": 1}, {"a": None, "n": None}, {"a": 1, "n": None}),
        ({"a": True}, {"a": False}, {"a": False}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("key", ["context", "integrations"])
def test_the_message_wins_over_its_batch(key: str, batch: Any, message: Any, merged: Any) -> None:
    facts = {} if batch is None else {key: batch}
    assert getattr(decode({key: message}, **facts), key) == merged


def test_messages_of_one_batch_have_nothing_in_common_that_a_plugin_could_change() -> None:
    facts = {"context": {"app": {"name": "Acme"}}, "integrations": {"Kochava": {"plan": "gold"}}}
    first, second = decode(BASE, **facts), decode(BASE, **facts)
    assert first == second
    first.context["app"]["name"] = first.integrations["Kochava"]["plan"] = "other"
    assert second == decode(BASE, **facts)
    assert second.context == facts["context"]


def test_one_batch_sent_again_later_is_corrected_by_its_own_arrival() -> None:
    event = make_event({**BASE, "timestamp": "2026-01-01T00:00:00Z"},
                       facts={"sent_at": "2026-01-01T00:00:05Z"})  # fmt: skip
    later = replace(event, received_at=event.received_at + 60)
    moments = [decode_event(each) for each in (event, later, event)]
    assert [each.timestamp.timestamp() for each in moments] == [NOW - 5, NOW + 55, NOW - 5]
    assert [each.received_at.timestamp() for each in moments] == [NOW, NOW + 60, NOW]


SWIFT = {"library": {"name": "analytics-swift"}}


@pytest.mark.parametrize(
    ("context", "ip"),
    [
        pytest.param(SWIFT, "198.51.100.1", id="a client SDK"),
        pytest.param({"library": {"name": "analytics-python"}}, None, id="a server SDK"),
        pytest.param({"direct": True}, "198.51.100.1", id="direct"),
        pytest.param({"direct": "true"}, None, id="direct as text"),
        pytest.param({**SWIFT, "ip": "203.0.113.9"}, "203.0.113.9", id="given"),
        pytest.param({**SWIFT, "ip": ""}, "198.51.100.1", id="given empty"),
        pytest.param({**SWIFT, "ip": "0.0.0.0"}, "0.0.0.0", id="opted out"),
        pytest.param({}, None, id="no library"),
        pytest.param({"library": "analytics-swift"}, None, id="library not an object"),
    ],
)
def test_the_connections_address_is_taken_for_clients_alone(
    context: dict[str, Any], ip: str | None
) -> None:
    """Segment's HTTP API page, "Context": others must send the address themselves."""
    assert decode({"context": context}, ip="198.51.100.1").context.get("ip") == ip


@settings(deadline=None)
@given(message=messages | st.dictionaries(st.text(), values), facts=values)
def test_any_object_is_decoded_or_refused(message: dict[str, Any], facts: Any) -> None:
    raw = json.dumps(message).encode()
    event = Event("acme", "m-1", str(message.get("type")), NOW, json.dumps(facts).encode(), raw)
    with suppress(Refused):  # and nothing else
        decoded = decode_event(event)
        assert decoded == decode_event(event)
        assert decoded.timestamp.utcoffset() == timedelta(0)


@settings(deadline=None)
@given(message=messages, context=values)
def test_what_the_door_lets_in_can_be_read_again(message: dict[str, Any], context: Any) -> None:
    raw = at_once(mend_surrogates(json.dumps(message).encode()))
    try:
        wire = read_wire(raw)
    except Refused:
        return
    facts = Facts(context=msgspec.Raw(json.dumps({"a": context}).encode()))
    event = Event("acme", "m-1", wire.type or "", NOW, msgspec.json.encode(facts), raw)
    assert decode_event(event).type == wire.type
