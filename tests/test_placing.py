"""Where an event queues, from the message alone."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec
import pytest

from proxy.decode import read_wire
from proxy.event import Event
from proxy.placing import Place, device_hash, place, place_event
from proxy.segment import Postback

PHONE = {"device": {"id": "phone"}}


def placed(source: str = "acme", **message: Any) -> Place:
    fields = {"type": "track", "event": "E", **message}
    wire = read_wire(msgspec.json.encode(fields))
    return place(source, wire, wire.context or {})


PERSONAS = {"computation_class": "audience", "computation_key": "k"}


@pytest.mark.parametrize(
    ("message", "ordered_by"),
    [
        pytest.param({"context": PHONE, "userId": "u"}, "phone", id="device"),
        pytest.param({"anonymousId": "a", "userId": "u"}, "a", id="anonymous id for a device"),
        pytest.param({"userId": "u"}, "u", id="user alone"),
        pytest.param(
            {"type": "identify", "anonymousId": "a", "userId": "u"}, "u", id="identify of a user"
        ),
        pytest.param({"type": "identify", "anonymousId": "a"}, "a", id="identify of nobody"),
        pytest.param(
            {"type": "identify", "userId": "u", "context": PHONE},
            "phone",
            id="identify on a device",
        ),
        pytest.param(
            {"userId": "u", "anonymousId": "a", "context": {"personas": {"computation_id": "c"}}},
            "u",
            id="Engage's event",
        ),
    ],
)
def test_an_event_is_ordered_by_its_device_or_else_by_its_user(
    message: dict[str, Any], ordered_by: str
) -> None:
    found = placed(**message)
    assert found.device == device_hash("acme", ordered_by)
    assert found.of_person == (ordered_by == "u")
    assert found.person == (device_hash("acme", "u") if "userId" in message else None)


def test_an_event_ends_with_the_fields_of_its_place() -> None:
    """The door fills it in that order."""
    fields = Place.__struct_fields__
    assert Event.__struct_fields__[-len(fields) :] == fields
    assert [*get_type_hints(Event).values()][-len(fields) :] == [*get_type_hints(Place).values()]


def test_the_same_id_in_two_sources_is_two_devices() -> None:
    assert placed("acme", userId="u").device != placed("other", userId="u").device


def test_what_engage_made_and_when_it_happened_are_told() -> None:
    message = {"userId": "u", "timestamp": "2026-01-01T00:00:00Z"}
    assert placed(**message).happened_at == 1_767_225_600
    assert not placed(**message).computed
    assert placed(userId="u", context={"personas": {"computation_id": "c"}}).computed
    assert placed(userId="u").happened_at is None


def test_a_postback_is_ordered_by_itself_wherever_it_is_placed_anew() -> None:
    """Else one that waits for its user would hold back the events that tell of that user."""

    def stored(message_id: str, raw: bytes = b'{"kochava_device_id":"d-1"}') -> Event:
        return Event("acme", message_id, Postback.type, 0.0, b"{}", raw)

    first, second = place_event(stored("kochava-1")), place_event(stored("kochava-2"))
    assert first.device != second.device
    assert device_hash("acme", "d-1") not in (first.device, second.device)
    assert (first.person, first.computed, first.happened_at) == (None, False, None)
    assert place_event(stored("kochava-1", b"torn")) == first


@pytest.mark.parametrize(
    ("who", "ordered_by"),
    [
        ({"userId": "u"}, "u"),
        ({"userId": "u", "anonymousId": "a"}, "u"),
        ({"userId": "u", "anonymousId": None}, "u"),
        ({"anonymousId": "a"}, "a"),
        ({"userId": "u", "context": PHONE}, "phone"),
        ({"userId": "u", "anonymousId": "a", "context": {"device": {"type": "ios"}}}, "u"),
    ],
    ids=["user", "user and anonymous id", "null", "anonymous profile", "device", "no device id"],
)
def test_both_forms_of_what_engage_computed_have_the_same_place(
    who: dict[str, Any], ordered_by: str
) -> None:
    """Else true, false, true could arrive in another order."""
    context = {**who.get("context", {}), "personas": PERSONAS}
    tracks = [
        placed(**{**who, "event": event, "properties": {"audience_key": "k"}, "context": context})
        for event in ("Audience Entered", "Audience Exited", "Trait Computed")
    ]
    identify = placed(**{**who, "type": "identify", "traits": {"k": True}, "context": context})
    assert tracks == [identify] * 3
    assert identify.device == device_hash("acme", ordered_by)
    assert identify.of_person == (ordered_by == "u")
    assert identify.computed
