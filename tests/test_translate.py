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
from proxy.segment import Source
from proxy.translate import (
    app_id_for,
    common_data,
    device_version,
    event_data,
    event_request,
    flatten,
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
