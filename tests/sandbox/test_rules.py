from __future__ import annotations

import copy
from typing import Any

import pytest

from proxy.sandbox.rules import link_problems, signature_problems, track_problems

UNKNOWN_AGENT = {"User-Agent": "Unknown"}
NOTHING = object()

INSTALL: dict[str, Any] = {
    "action": "install",
    "kochava_app_id": "koacme-ios-x1y2z3",
    "kochava_device_id": "inst-7f3a9c21",
    "app_ver": "4.2.0",
    "data": {
        "usertime": 1_767_225_600,
        "origination_ip": "203.0.113.9",
        "device_ua": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)",
        "device_ver": "",
        "device_ids": {"idfa": "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60", "adid": ""},
        "app_tracking_transparency": {"att": True, "att_detail": "authorized"},
        "ad_services_token": "BASE64TOKEN==",
    },
}
EVENT: dict[str, Any] = {
    "action": "event",
    "kochava_app_id": "koacme-and-a1b2c3",
    "kochava_device_id": "",
    "data": {
        "usertime": "1521574016",
        "origination_ip": "198.51.100.24",
        "device_ua": "",
        "device_ver": "Pixel 8-Android-14.0.0",
        "device_ids": {"adid": "0d9c2b7a-1111-4222-8333-444455556666", "idfa": "", "idfv": ""},
        "event_name": "Purchase",
        "currency": "EUR",
        "event_data": {"name": "Annual plan", "sum": -59.9, "checkout_as_guest": "false"},
    },
}
UPDATE: dict[str, Any] = {
    "action": "update",
    "kochava_app_id": "koacme-ios-x1y2z3",
    "kochava_device_id": "inst-7f3a9c21",
    "data": {"idfa": "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60"},
}
LINK: dict[str, Any] = {
    "kochava_app_id": "koacme-ios-x1y2z3",
    "device_id": {"idfa": "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60"},
    "device_hash_method": {"idfa": "md5"},
    "data": {"app_userid": "u-88", "plan": "gold", "age": 7},
}


def changed(body: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """`body` with one value put in, or with NOTHING taken out."""
    body = copy.deepcopy(body)
    *parents, key = path.split(".")
    place = body
    for parent in parents:
        place = place[parent]
    if value is NOTHING:
        del place[key]
    else:
        place[key] = value
    return body


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(INSTALL, {}, id="install"),
        pytest.param(EVENT, UNKNOWN_AGENT, id="event without a user agent"),
        pytest.param(UPDATE, {}, id="update of the IDFA"),
        pytest.param(changed(INSTALL, "data.device_ids", {}), {}, id="kochava_device_id alone"),
        pytest.param(changed(INSTALL, "data.usertime", NOTHING), {}, id="no usertime"),
        pytest.param(changed(EVENT, "data.event_data", NOTHING), UNKNOWN_AGENT, id="no event_data"),
        pytest.param(changed(EVENT, "data.currency", NOTHING), UNKNOWN_AGENT, id="no currency"),
    ],
)
def test_what_kochavas_pages_show_is_right(body: dict[str, Any], headers: dict[str, str]) -> None:
    assert track_problems(body, headers) == []


@pytest.mark.parametrize(
    ("body", "path", "value", "problem"),
    [
        (INSTALL, "action", "purchase", "action"),
        (INSTALL, "action", NOTHING, "action"),
        (INSTALL, "action", ["install"], "action"),
        (INSTALL, "kochava_app_id", "", "kochava_app_id"),
        (INSTALL, "kochava_app_id", NOTHING, "kochava_app_id"),
        (INSTALL, "kochava_device_id", NOTHING, "kochava_device_id"),
        (INSTALL, "kochava_device_id", None, "kochava_device_id"),
        (INSTALL, "app_version", "4.2.0", "app_version"),
        (INSTALL, "data", NOTHING, "data must be an object"),
        (INSTALL, "data", [], "data must be an object"),
        (INSTALL, "data.device_ids", NOTHING, "device_ids"),
        (INSTALL, "data.device_ids", ["idfa"], "device_ids"),
        (INSTALL, "data.device_ids.idfa", None, "device_ids"),
        (INSTALL, "data.device_ids.gaid", "x", "device_ids.gaid"),
        (INSTALL, "data.device_ids.idfa", "00000000-0000-0000-0000-000000000000", "zero"),
        (EVENT, "data.device_ids.adid", "", "neither a device id"),
        (INSTALL, "data.device_ua", NOTHING, "device_ua"),
        (INSTALL, "data.device_ver", None, "device_ver"),
        (INSTALL, "data.device_ua", "", "User-Agent: Unknown"),
        (INSTALL, "data.usertime", 1_767_225_600_000, "epoch seconds"),
        (INSTALL, "data.usertime", 1_767_225_600.5, "epoch seconds"),
        (INSTALL, "data.usertime", "2026-01-01T00:00:00Z", "epoch seconds"),
        (INSTALL, "data.origination_ip", "0.0.0.0", "opt-out"),
        (INSTALL, "data.app_tracking_transparency", NOTHING, "app_tracking_transparency"),
        (INSTALL, "data.app_tracking_transparency.att", "true", "app_tracking_transparency"),
        (EVENT, "data.device_ids.idfv", "v-1", "app_tracking_transparency"),
        (EVENT, "data.event_name", NOTHING, "event_name"),
        (EVENT, "data.event_name", "", "event_name"),
        (EVENT, "data.event_data", "text", "event_data"),
        (EVENT, "data.event_data.nested", {"a": 1}, "not flat"),
        (EVENT, "data.event_data.list", [1], "not flat"),
        (EVENT, "data.event_data.campaign", "x", "reserved"),
        (EVENT, "data.event_data.sum", "59.90", "sum must be a number"),
        (EVENT, "data.event_data.sum", True, "sum must be a number"),
        (EVENT, "data.event_data.sum", None, "sum must be a number"),
        (EVENT, "data.currency", "eur", "ISO 4217"),
        (EVENT, "data.currency", "Euro", "ISO 4217"),
        (EVENT, "data.currency", None, "ISO 4217"),
        (UPDATE, "data.idfa", NOTHING, "idfa"),
    ],
)
def test_one_thing_wrong_is_one_problem(
    body: dict[str, Any], path: str, value: object, problem: str
) -> None:
    headers = UNKNOWN_AGENT if body is EVENT else {}
    (said,) = track_problems(changed(body, path, value), headers)
    assert problem in said


def test_all_that_is_wrong_is_said_at_once() -> None:
    problems = track_problems({"action": "event", "data": {"device_ids": {}}}, {})
    assert len(problems) == 5


@pytest.mark.parametrize("body", [None, [], [INSTALL], "text", 7])
def test_only_one_object_a_request_is_understood(body: object) -> None:
    assert track_problems(body, {}) == link_problems(body) == ["the body is not a JSON object"]


def test_the_link_that_kochavas_page_shows_is_right() -> None:
    assert link_problems(LINK) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("kochava_app_id", NOTHING, "kochava_app_id"),
        ("device_id", NOTHING, "device_id"),
        ("device_id", {}, "device_id"),
        ("device_id", "5B2C1F0E", "device_id"),
        ("device_id.idfa", "", "device_id"),
        ("device_ids", {}, "device_ids is not a field"),
        ("action", "identityLink", "action is not a field"),
        ("data", {}, "data"),
        ("data", NOTHING, "data"),
        ("data.vip", True, "plain values"),
        ("data.tags", ["a"], "plain values"),
    ],
)
def test_one_thing_wrong_in_a_link_is_one_problem(path: str, value: object, problem: str) -> None:
    (said,) = link_problems(changed(LINK, path, value))
    assert problem in said


#: Worked out by hand from Kochava's "Install Authentication Integration".
SIGNED = (
    rb'{"action":"install","kochava_app_id":"koacme-ios-x1y2z3","kochava_device_id":"dev-0001",'
    rb'"data":{"origination_ip":"203.0.113.9","device_ua":"Mozilla\/5.0 (iPhone)",'
    rb'"device_ver":"","device_ids":{"idfv":"6D1E8F6A-0A57-4C39-9D53-0B1B7A9F2C10"}}}'
)
CREDENTIALS = ("demo-api-key", "demo-secret")
HEADERS = {
    "Kochava-Api-Key": "demo-api-key",
    "Kochava-Auth-Token": "d0dae6f64350d9f1b853530d87a561504ff4cc1499118fa4057b7b9932634b13",
}


def test_a_right_signature_is_taken_and_none_is_asked_for_without_credentials() -> None:
    assert signature_problems(SIGNED, HEADERS, CREDENTIALS) == []
    assert signature_problems(SIGNED, {}, None) == []


@pytest.mark.parametrize(
    ("body", "headers", "credentials"),
    [
        pytest.param(SIGNED + b" ", HEADERS, CREDENTIALS, id="other bytes"),
        pytest.param(SIGNED.replace(rb"\/", b"/"), HEADERS, CREDENTIALS, id="slash not escaped"),
        pytest.param(SIGNED, {}, CREDENTIALS, id="no headers"),
        pytest.param(SIGNED, {**HEADERS, "Kochava-Api-Key": "other"}, CREDENTIALS, id="other key"),
        pytest.param(SIGNED, HEADERS, ("demo-api-key", "other"), id="other secret"),
        pytest.param(SIGNED, {**HEADERS, "Kochava-Auth-Token": "\xe9"}, CREDENTIALS, id="no ASCII"),
    ],
)
def test_a_wrong_signature_is_a_problem(
    body: bytes, headers: dict[str, str], credentials: tuple[str, str]
) -> None:
    assert signature_problems(body, headers, credentials) == [
        "the signature does not match the body"
    ]
