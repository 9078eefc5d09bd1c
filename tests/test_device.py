from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.device import is_zero, read_device, read_platform, section, text
from tests.receive.strategies import values
from tests.support import make_message

IDFA = "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60"
IDFV = "6D1E8F6A-0A57-4C39-9D53-0B1B7A9F2C10"
ZERO = "00000000-0000-0000-0000-000000000000"
ANDROID_ID = "9774d56d682e549c"


def _names(*, type_: Any = None, os: Any = None, library: Any = None) -> dict[str, Any]:
    return {"device": {"type": type_}, "os": {"name": os}, "library": {"name": library}}


@pytest.mark.parametrize(
    ("context", "platform"),
    [
        (_names(type_="ios"), "ios"),
        (_names(type_="Android"), "android"),
        (_names(type_=" tvos "), "ios"),
        (_names(type_="visionos"), "ios"),
        (_names(type_="ios", os="Android", library="analytics-android"), "ios"),
        (_names(type_="web", os="Android"), "android"),
        (_names(type_="", os="iPadOS"), "ios"),
        (_names(os="iPhone OS"), "ios"),
        (_names(os="Windows", library="analytics-android"), "android"),
        (_names(library="analytics-ios"), "ios"),
        (_names(library="analytics.ios.swift"), "ios"),
        (_names(library="axios"), None),
        (_names(library="iosevka"), None),
        (_names(type_="macos", os="macOS", library="analytics-swift"), None),
        (_names(type_=7, os=["iOS"], library={}), None),
        ({"device": "ios", "os": None}, None),
        ({}, None),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else str(value),
)
def test_the_platform_is_the_first_that_is_named(
    context: dict[str, Any], platform: str | None
) -> None:
    assert read_platform(context) == platform


@pytest.mark.parametrize(
    ("device", "ids"),
    [
        pytest.param(
            {"type": "ios", "id": IDFV, "advertisingId": IDFA},
            {"idfa": IDFA, "idfv": IDFV},
            id="ios",
        ),
        pytest.param(
            {"type": "android", "id": "w" * 64, "advertisingId": IDFA},
            {"adid": IDFA},
            id="android: the device id is a Widevine hash, no Android id",
        ),
        pytest.param(
            {"type": "android", "id": ANDROID_ID}, {"android_id": ANDROID_ID}, id="an Android id"
        ),
        pytest.param(
            {"type": "android", "id": ANDROID_ID + "0"}, {}, id="too long for an Android id"
        ),
        pytest.param(
            {"type": "ios", "id": ANDROID_ID}, {"idfv": ANDROID_ID}, id="no android_id on ios"
        ),
        pytest.param({"type": "ios", "advertising_id": IDFA}, {"idfa": IDFA}, id="snake_case"),
        pytest.param(
            {"type": "ios", "advertisingId": "", "advertising_id": IDFA},
            {"idfa": IDFA},
            id="empty camelCase, snake_case",
        ),
        pytest.param({"type": "ios", "advertisingId": ZERO}, {}, id="zero IDFA"),
        pytest.param({"type": "android", "advertisingId": ZERO}, {}, id="zero ADID"),
        pytest.param(
            {"type": "ios", "advertisingId": IDFA, "adTrackingEnabled": False}, {}, id="limited"
        ),
        pytest.param(
            {"type": "android", "advertisingId": IDFA, "adTrackingEnabled": "false"},
            {},
            id="limited, as text",
        ),
        pytest.param(
            {"type": "ios", "id": IDFV, "advertisingId": IDFV.lower()},
            {"idfv": IDFV},
            id="the IDFV posing as IDFA, as Segment's Swift sample sends it",
        ),
        pytest.param(
            {"type": "android", "id": ANDROID_ID, "advertisingId": ANDROID_ID},
            {"adid": ANDROID_ID, "android_id": ANDROID_ID},
            id="equal ids on android",
        ),
        pytest.param({"type": "ios", "id": ZERO, "advertisingId": IDFA}, {"idfa": IDFA}, id="clip"),
        pytest.param({"id": IDFV, "advertisingId": IDFA}, {}, id="no platform, so no kind of id"),
        pytest.param({"type": "ios", "id": f" {IDFV}\n"}, {"idfv": IDFV}, id="space around"),
        pytest.param({"type": "ios", "id": 7, "advertisingId": ["x"]}, {}, id="other types"),
    ],
)
def test_kochava_is_told_the_ids_that_are_what_they_say(
    device: dict[str, Any], ids: dict[str, str]
) -> None:
    read = read_device(make_message(anonymous_id="a-1", context={"device": device}))
    assert read is not None
    assert read.ids == ids


@pytest.mark.parametrize(
    ("device", "anonymous_id", "kochava_device_id"),
    [
        ({"id": IDFV}, "a-1", IDFV),
        ({"id": ""}, "a-1", "a-1"),
        ({"id": ZERO}, "a-1", "a-1"),
        ({"type": "ios", "advertisingId": IDFA}, None, ""),
    ],
    ids=["device id", "empty: anonymous id", "zero: anonymous id", "advertising id alone"],
)
def test_the_kochava_device_id_is_the_most_stable_there_is(
    device: dict[str, Any], anonymous_id: str | None, kochava_device_id: str
) -> None:
    read = read_device(make_message(anonymous_id=anonymous_id, context={"device": device}))
    assert read is not None
    assert read.kochava_device_id == kochava_device_id


@pytest.mark.parametrize(
    "device",
    [
        {},
        {"id": ZERO},
        {"type": "ios", "advertisingId": ZERO},
        {"type": "ios", "advertisingId": IDFA, "adTrackingEnabled": False},
    ],
    ids=["nothing", "zero id", "zero IDFA", "limited"],
)
def test_without_any_id_there_is_no_device(device: dict[str, Any]) -> None:
    assert read_device(make_message(user_id="u-1", context={"device": device})) is None


@pytest.mark.parametrize(
    ("device", "limited"),
    [
        ({}, None),
        ({"adTrackingEnabled": True}, False),
        ({"adTrackingEnabled": False}, True),
        ({"adTrackingEnabled": "False"}, True),
        ({"adTrackingEnabled": 0}, None),
        ({"ad_tracking_enabled": False}, True),
        ({"adTrackingEnabled": True, "advertisingId": ZERO}, True),
    ],
    ids=json.dumps,
)
def test_tracking_is_limited_where_the_device_says_so(
    device: dict[str, Any], limited: bool | None
) -> None:
    read = read_device(make_message(anonymous_id="a-1", context={"device": device}))
    assert read is not None
    assert read.limit_tracking is limited


@pytest.mark.parametrize(
    ("device", "att"),
    [
        ({"attTrackingStatus": 3}, {"att": True, "att_detail": "authorized"}),
        ({"attTrackingStatus": 3.0}, {"att": True, "att_detail": "authorized"}),
        ({"attTrackingStatus": "2"}, {"att": False, "att_detail": "denied"}),
        ({"trackingStatus": "notDetermined"}, {"att": False, "att_detail": "notDetermined"}),
        ({"tracking_status": "not_determined"}, {"att": False, "att_detail": "notDetermined"}),
        ({"trackingStatus": "Restricted"}, {"att": False, "att_detail": "restricted"}),
        ({"attTrackingStatus": None, "trackingStatus": 2}, {"att": False, "att_detail": "denied"}),
        ({"trackingStatus": "unknown", "adTrackingEnabled": True}, {"att": False}),
        ({"adTrackingEnabled": True}, {"att": True}),
        ({"adTrackingEnabled": True, "advertisingId": ZERO}, {"att": False}),
        ({"adTrackingEnabled": False}, {"att": False}),
        ({}, {"att": False}),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_every_ios_device_says_whether_tracking_is_authorised(
    device: dict[str, Any], att: dict[str, Any]
) -> None:
    full = {"type": "ios", "id": IDFV, "advertisingId": IDFA, **device}
    read = read_device(make_message(context={"device": full}))
    assert read is not None
    assert read.att == att


def test_no_other_device_speaks_of_authorisation() -> None:
    device = {"type": "android", "id": "d", "attTrackingStatus": 3}
    read = read_device(make_message(context={"device": device}))
    assert read is not None
    assert read.att is None


@settings(deadline=None)
@given(context=st.dictionaries(st.sampled_from(["device", "os", "library"]), values))
def test_any_context_gives_a_device_without_empty_or_zero_ids(context: dict[str, Any]) -> None:
    read = read_device(make_message(anonymous_id="a-1", context=context))
    assert read is not None
    assert all(text(value) == value and not is_zero(value) for value in read.ids.values())


@pytest.mark.parametrize(
    ("value", "said"), [(" a ", "a"), ("", None), ("  ", None), (None, None), (7, None), ([], None)]
)
def test_text_is_what_says_something(value: object, said: str | None) -> None:
    assert text(value) == said


@pytest.mark.parametrize("value", [None, "text", [1], 7])
def test_what_is_no_object_is_an_empty_section(value: object) -> None:
    assert section({"key": value}, "key") == section({}, "key") == {}
