"""What a postback says of an install, and the call that it is."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from proxy.postback import NAMES
from proxy.sandbox.template import ATTRIBUTIONS, PARAMETERS, make_call, values_for
from tests.sandbox.test_firing import INSTALL

APPLE = {
    "iad-attribution": "true",
    "iad-campaign-name": "Brand US",
    "iad-campaign-id": "9001",
    "iad-keyword": "acme app",
    "iad-click-date": "2022-05-01T10:00:00Z",
}


def install(**data: Any) -> dict[str, Any]:
    return {**INSTALL, "data": {**INSTALL["data"], **data}}


def test_it_says_what_the_install_said() -> None:
    said = values_for(INSTALL)
    attribution = [each for each in ATTRIBUTIONS if said.items() >= each.items()]
    assert attribution
    own = {name: value for name, value in said.items() if name not in attribution[0]}
    own.pop("network", None)
    assert own == {
        "event_name": "_install",
        "event_time": "1767225600",
        "kochava_device_id": "d-1",
        "adid": "0d9c2b7a-1111-4222-8333-444455556666",
        "platform": "android",
        "ip": "203.0.113.9",
        "user_agent": "UA",
    }


def test_every_attribution_is_some_device_s() -> None:
    devices = [{**INSTALL, "kochava_device_id": f"d-{number}"} for number in range(50)]
    networks = {values_for(each).get("network") for each in devices}
    assert networks == {each.get("network_name") for each in ATTRIBUTIONS}
    assert values_for(devices[0]) == values_for(devices[0])


def test_what_apple_said_is_what_kochava_would_say() -> None:
    said = values_for(install(iad_attribution_details={"Version3.1": APPLE}))
    assert said["network"] == said["network_name"] == "Apple Search Ads"
    assert (said["campaign"], said["campaign_id"]) == ("Brand US", "9001")
    assert (said["content"], said["click_date"]) == ("acme app", "2022-05-01T10:00:00Z")
    assert "ad_group" not in said
    other = values_for(install(iad_attribution_details={"Version3.1": {"iad-attribution": "no"}}))
    assert other.get("network") != "Apple Search Ads"


@pytest.mark.parametrize(
    ("ids", "platform"),
    [({"idfv": "v"}, "ios"), ({"android_id": "a", "idfa": ""}, "android"), ({}, None), ([], None)],
)
def test_the_platform_is_that_of_the_ids(ids: Any, platform: str | None) -> None:
    assert values_for(install(device_ids=ids)).get("platform") == platform


@pytest.mark.parametrize("body", [{}, {"data": []}, {"data": {"device_ids": 5}}, {"data": "x"}])
def test_an_install_that_says_nothing_says_nothing_here(body: dict[str, Any]) -> None:
    assert values_for(body)["event_name"] == "_install"


def test_every_macro_of_the_documents_url_is_one_here() -> None:
    ours = {"network" if name == "network_name" else name for name in PARAMETERS}
    assert ours == set(NAMES)


@pytest.mark.parametrize("form", ["{%s}", "%%7B%s%%7D", "%%7b%s%%7d"])
def test_macros_are_filled_in_wherever_they_stand(form: str) -> None:
    network, unknown = form % "network", form % "shoe_size"
    url = f"https://h.example/in/{network}/x?n={network}&{network}=1&s={unknown}&t=a-{network}"
    call = make_call(url, "get", {"network": "Käse & Co/1"})
    filled = quote("Käse & Co/1", safe="")
    assert call.url == (
        f"https://h.example/in/{filled}/x?n={filled}&{filled}=1&s={unknown}&t=a-{filled}"
    )
    assert call.fields == {}


def test_what_nothing_is_known_for_stays_a_macro() -> None:
    assert make_call("http://h/?a={idfa}&b={adid}", "get", {"adid": "1"}).url == (
        "http://h/?a={idfa}&b=1"
    )


@pytest.mark.parametrize("url", ["http://h/p", "http://h/p?own=1"])
def test_a_url_without_macros_gets_every_parameter(url: str) -> None:
    given = parse_qs(urlsplit(make_call(url, "get", values_for(INSTALL)).url).query)
    assert given.pop("own", ["1"]) == ["1"]
    assert tuple(given) == PARAMETERS
    assert (given["kochava_device_id"], given["idfa"]) == (["d-1"], ["{idfa}"])


@pytest.mark.parametrize("method", ["post-form", "post-json"])
def test_by_post_the_parameters_are_in_the_body(method: Any) -> None:
    values = {"network": "a&b", "adid": "1"}
    call = make_call("http://h/{adid}?n={network}&i={idfa}&e=", method, values)
    assert (call.url, call.fields) == ("http://h/1", {"n": "a&b", "i": "{idfa}", "e": ""})
    bare = make_call("http://h/p?own=1", method, values)
    assert (bare.url, tuple(bare.fields)) == ("http://h/p?own=1", PARAMETERS)
    assert bare.fields["adid"] == "1"


def test_half_surrogates_become_marks() -> None:
    assert values_for({"kochava_device_id": "d\ud800"})["kochava_device_id"] == "d?"
