from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.device import Device
from proxy.errors import Filtered
from proxy.kochava import KochavaRequest
from proxy.segment import Identify, Source, Track
from proxy.translate import (
    AD_SERVICES_TOKEN_SECONDS,
    app_id_for,
    common_data,
    device_version,
    engage_identify,
    event_data,
    event_request,
    flatten,
    spelled,
    without_stale_token,
)
from tests.receive.strategies import values
from tests.support import NOW, make_message

PER_PLATFORM = Source(name="acme", kochava_app_id={"ios": "koacme-ios"})
FOR_ALL = Source(name="acme", kochava_app_id="koacme")
DEVICE = Device(platform="ios", kochava_device_id="d-1", ids={"idfv": "v-1"})

objects = st.dictionaries(st.text(max_size=8), values, max_size=6)


@pytest.mark.parametrize(
    ("fields", "flat"),
    [
        ({"a": 1, "b": "x", "c": True, "d": 1.5}, {"a": 1, "b": "x", "c": True, "d": 1.5}),
        ({"a": None, "b": {"c": None}}, {}),
        ({"a": {"b": 1, "c": {"d": 2}}}, {"a_b": 1, "a_c_d": 2}),
        ({"a": {}}, {}),
        ({"a": []}, {"a": "[]"}),
        ({"a": [1, {"b": "é"}]}, {"a": '[1,{"b":"é"}]'}),
        ({"a": {"b": 1}, "a_b": 2}, {"a_b": 2}),
        ({"a_b": 2, "a": {"b": 1}}, {"a_b": 2}),
        ({"a": {"b_c": None}, "a_b": {"c": 2}}, {"a_b_c": 2}),
        ({"a": {"b_c": {"x": 1}}, "a_b": {"c": {"y": 2}}}, {"a_b_c_x": 1, "a_b_c_y": 2}),
        ({"source": "mail", "Campaign": "x"}, {"segment_source": "mail", "segment_Campaign": "x"}),
        ({"fb": {"campaign": 1}}, {"segment_fb_campaign": 1}),
        ({"source": 1, "segment_source": 2}, {"segment_source": 2}),
        ({"segment_source": 2, "source": 1}, {"segment_source": 2}),
        ({"sum": 5}, {"sum": 5}),
        ({"sum": "$5.50"}, {"sum": 5.5}),
        ({"sum": True}, {"segment_sum": True}),
        ({"sum": "much", "segment_sum": 1}, {"segment_sum": 1}),
        ({"sum": [1]}, {"segment_sum": "[1]"}),
        ({"sources": 1, "my_source": 2}, {"sources": 1, "my_source": 2}),
    ],
    ids=lambda value: json.dumps(value, ensure_ascii=False),
)
def test_event_data_is_flat_and_out_of_kochavas_way(
    fields: dict[str, Any], flat: dict[str, Any]
) -> None:
    assert event_data(fields) == flat


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None:
        yield value


def _with_own_keys(value: Any, count: Iterator[int]) -> Any:
    """`value` with keys that cannot meet when joined, and no text that could be a list's."""
    if isinstance(value, dict):
        return {f"k{next(count)}": _with_own_keys(inner, count) for inner in value.values()}
    if isinstance(value, list):
        return [_with_own_keys(inner, count) for inner in value]
    return f"text {value}" if isinstance(value, str) else value


@settings(deadline=None)
@given(objects)
def test_flattening_loses_no_leaf(fields: dict[str, Any]) -> None:
    fields = _with_own_keys(fields, iter(range(1_000)))
    kept: list[Any] = []
    for value in flatten(fields).values():
        is_json = isinstance(value, str) and value.startswith(("[", "{"))
        kept += _leaves(json.loads(value)) if is_json else [value]
    assert sorted(map(repr, kept)) == sorted(map(repr, _leaves(fields)))


@settings(deadline=None)
@given(objects)
def test_a_flat_object_stays_as_it_is(fields: dict[str, Any]) -> None:
    flat = flatten(fields)
    assert not any(isinstance(value, dict | list | None) for value in flat.values())
    assert flatten(flat) == flat
    assert event_data(event_data(fields)) == event_data(fields)


def test_an_object_however_deep_becomes_text_at_last() -> None:
    deep: dict[str, Any] = {"leaf": 1}
    for _ in range(50):
        deep = {"k": deep}
    (value,) = flatten(deep).values()
    assert json.loads(value)
    assert '"leaf":1' in value


def test_a_long_name_before_many_keys_does_not_make_a_huge_request() -> None:
    """29 KB that would be joined to 26 MB, more than Kochava takes."""
    fields = {"k" * 14_000: {f"{number:x}": 1 for number in range(1_900)}}
    assert len(json.dumps(event_data(fields))) < 100_000


@pytest.mark.parametrize(
    ("context", "version"),
    [
        ({"device": {"model": "Pixel 8"}, "os": {"name": "Android", "version": "14"}},
         "Pixel 8-Android-14"),
        ({"device": {"model": "iPhone16,2"}, "os": {"name": "iPhone OS", "version": "17.5"}},
         "iPhone16,2-iOS-17.5"),
        ({"device": {"model": "iPhone16,2"}, "os": {"name": "ios", "version": "17.5"}},
         "iPhone16,2-iOS-17.5"),
        ({"device": {"model": "Pixel 8"}, "os": {"name": "Android"}}, ""),
        ({"os": {"name": "Android", "version": "14"}}, ""),
        ({"device": {"model": "Pixel 8"}, "os": {"name": "Android", "version": 14}}, ""),
        ({}, ""),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_the_device_version_is_all_of_its_three_parts_or_nothing(
    context: dict[str, Any], version: str
) -> None:
    """Kochava, "S2S Without Device UA"."""
    assert device_version(context) == version


@pytest.mark.parametrize(
    ("context", "data"),
    [
        ({"userAgent": "UA"}, {"device_ua": "UA", "device_ver": ""}),
        ({"ip": "203.0.113.9"}, {"origination_ip": "203.0.113.9"}),
        ({"ip": "2001:db8::1"}, {"origination_ip": "2001:db8::1"}),
        ({"ip": "0.0.0.0"}, {}),
        ({"ip": "proxy.example"}, {}),
        ({"app": {"version": "4.2.0", "build": "7"}}, {"app_version": "4.2.0"}),
        ({"app": {"version": 4}}, {}),
        ({"userAgent": None, "ip": None, "app": None}, {}),
    ],
    ids=json.dumps,
)
def test_common_data_says_what_is_known_and_nothing_more(
    context: dict[str, Any], data: dict[str, Any]
) -> None:
    always = {"device_ids": {"idfv": "v-1"}, "usertime": NOW, "device_ua": "", "device_ver": ""}
    assert common_data(make_message(context=context), DEVICE) == {**always, **data}


def test_usertime_is_whole_epoch_seconds() -> None:
    message = make_message(timestamp=datetime(2026, 1, 1, 0, 0, 0, 999_999, UTC))
    usertime = common_data(message, DEVICE)["usertime"]
    assert (usertime, type(usertime)) == (NOW, int)


def test_what_the_device_says_of_tracking_goes_along() -> None:
    device = Device("ios", "d-1", {"idfv": "v-1"}, limit_tracking=False, att={"att": True})
    data = common_data(make_message(), device)
    assert data["device_limit_tracking"] is False
    assert data["app_tracking_transparency"] == {"att": True}


@pytest.mark.parametrize(
    ("source", "platform", "answer"),
    [
        (PER_PLATFORM, "ios", "koacme-ios"),
        (FOR_ALL, "android", "koacme"),
        (FOR_ALL, None, "koacme"),
        (PER_PLATFORM, "android", Filtered("no_app_id")),
        (PER_PLATFORM, None, Filtered("unknown_platform")),
    ],
    ids=["its own", "for all", "for all, unknown", "no app", "unknown"],
)
def test_the_platform_chooses_the_app(
    source: Source, platform: Any, answer: str | Filtered
) -> None:
    device = Device(platform=platform, kochava_device_id="d-1")
    if isinstance(answer, str):
        assert app_id_for(source, device) == answer
    else:
        with pytest.raises(Filtered, match=answer.reason):
            app_id_for(source, device)


@pytest.mark.parametrize(
    ("integrations", "fields"),
    [
        ({}, {"plan": "free"}),
        ({"Kochava": True}, {"plan": "free"}),
        ({"Kochava": {"plan": "gold", "site": "x"}}, {"plan": "gold", "segment_site": "x"}),
        ({"kochava": {"plan": "gold"}}, {"plan": "free"}),
        ({"Kochava": {"ad_services_token": "dG9rZW4="}}, {"plan": "free"}),
    ],
    ids=json.dumps,
)
def test_kochavas_own_options_are_laid_over_the_fields(
    integrations: dict[str, Any], fields: dict[str, Any]
) -> None:
    message = make_message(integrations=integrations)
    request = event_request(message, PER_PLATFORM, DEVICE, "Subscribe", {"plan": "free"})
    assert (request.action, request.kochava_device_id) == ("event", "d-1")
    assert request.kochava_app_id == "koacme-ios"
    assert (request.data["event_name"], request.data["event_data"]) == ("Subscribe", fields)


def test_the_token_of_an_install_is_taken_out_of_the_options_alone() -> None:
    message = make_message(integrations={"Kochava": {"ad_services_token": "option", "a": 1}})
    fields = {"ad_services_token": "property"}
    request = event_request(message, PER_PLATFORM, DEVICE, "Subscribe", fields)
    assert request.data["event_data"] == {"ad_services_token": "property", "a": 1}


@pytest.mark.parametrize("integrations", [{}, {"Kochava": {"plan": "gold"}}], ids=json.dumps)
@pytest.mark.parametrize("properties", [{}, {"a": 1}, {"a": None, "sum": "1"}], ids=json.dumps)
def test_what_a_plugin_adds_to_a_request_stays_out_of_the_message(
    properties: dict[str, Any], integrations: dict[str, Any]
) -> None:
    """Other plugins see the same message."""
    message = make_message(integrations=integrations, properties=properties)
    assert isinstance(message, Track)
    before = json.dumps([properties, integrations])
    request = event_request(message, PER_PLATFORM, DEVICE, "Subscribe", message.properties)
    request.data["event_data"]["added"] = True
    request.data["device_ids"]["added"] = "x"
    assert json.dumps([message.properties, message.integrations]) == before
    assert DEVICE.ids == {"idfv": "v-1"}


def install(**data: Any) -> KochavaRequest:
    return KochavaRequest(
        action="install", kochava_app_id="koacme", kochava_device_id="d-1", data=data
    )


@pytest.mark.parametrize("age", [AD_SERVICES_TOKEN_SECONDS, AD_SERVICES_TOKEN_SECONDS * 30])
def test_a_token_that_apple_has_forgotten_is_taken_out(age: float) -> None:
    request = install(usertime=NOW, ad_services_token="dG9rZW4=")
    assert without_stale_token(request, age) == install(usertime=NOW)
    assert "ad_services_token" in request.data  # requests are shared: the old one stays


@pytest.mark.parametrize(
    ("request_", "age"),
    [
        (install(ad_services_token="dG9rZW4="), 0.0),
        (install(ad_services_token="dG9rZW4="), AD_SERVICES_TOKEN_SECONDS - 0.001),
        (install(ad_services_token="dG9rZW4="), -60.0),
        (install(usertime=NOW), AD_SERVICES_TOKEN_SECONDS),
    ],
    ids=["new", "just within", "of a clock that is ahead", "without a token"],
)
def test_a_request_with_no_stale_token_is_the_same_object(
    request_: KochavaRequest, age: float
) -> None:
    assert without_stale_token(request_, age) is request_


def engage(event: str, properties: dict[str, Any], **personas: Any) -> Track:
    context = {"personas": {"space_id": "spa_1", **personas}, "ip": "203.0.113.9"}
    message = make_message(event=event, properties=properties, context=context, user_id="u-1")
    assert isinstance(message, Track)
    return message


@pytest.mark.parametrize(
    ("message", "key", "value"),
    [
        (engage("Audience Entered", {"audience_key": "k", "k": True}), "k", True),
        (engage("Audience Exited", {"audience_key": "k", "k": False}), "k", False),
        (engage("Audience Entered", {"audience_key": "k", "k": "true"}), "k", "true"),
        (engage("Audience Entered", {"audience_key": "k", "k": False}), "k", False),
        (engage("Audience Entered", {"audience_key": "k"}), "k", True),
        (engage("Audience Exited", {"audience_key": "k", "k": None}), "k", False),
        (engage("Audience Entered", {"audience_key": 5}, computation_key="k"), "k", True),
        (engage("Audience Entered", {"audience_key": "k"}, computation_key="other"), "k", True),
        (engage("Trait Computed", {"trait_key": "k", "k": 0}), "k", 0),
        (engage("Trait Computed", {"k": [1]}, computation_key="k"), "k", [1]),
        (engage(" trait__COMPUTED", {"trait_key": "k", "k": "x"}), "k", "x"),
    ],
    ids=lambda value: value.event if isinstance(value, Track) else None,
)
def test_a_track_call_of_engage_is_read_as_the_identify_that_says_the_same(
    message: Track, key: str, value: Any
) -> None:
    found = engage_identify(message)
    assert isinstance(found, Identify)
    assert found.traits == {**message.properties, key: value}
    assert found.context["personas"] == {**message.context["personas"], "computation_key": key}
    assert found.context["ip"] == "203.0.113.9"
    assert (found.message_id, found.user_id, found.timestamp) == (
        message.message_id, "u-1", message.timestamp,
    )  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        make_message(event="Audience Entered", properties={"audience_key": "k", "k": True}),
        make_message(event="Audience Entered", context={"personas": {}}),
        make_message(event="Audience Entered", context={"personas": "x"}),
        engage("Audience Enter", {"audience_key": "k"}),
        engage("Offer Due", {}, computation_class="journey_step", computation_key="k"),
    ],
    ids=["no personas", "empty personas", "personas no object", "another name", "a journey's own"],
)
def test_any_other_track_call_is_nobodys_identify(message: Track) -> None:
    assert engage_identify(message) is None


@pytest.mark.parametrize(
    "message",
    [
        engage("Trait Computed", {"trait_key": "k"}),
        engage("Trait Computed", {"trait_key": "k", "k": None}),
        engage("Audience Entered", {"k": True}),
        engage("Audience Entered", {"audience_key": " "}, computation_key=7),
    ],
    ids=["no value", "null", "no key", "keys that say nothing"],
)
def test_what_says_nothing_computed_is_filtered(message: Track) -> None:
    with pytest.raises(Filtered, match="nothing_to_link"):
        engage_identify(message)


@pytest.mark.parametrize("name", ["Order Completed", "order_completed", " ORDER  completed_"])
def test_case_and_underscores_make_no_difference_to_a_name(name: str) -> None:
    assert spelled(name) == "order completed"
