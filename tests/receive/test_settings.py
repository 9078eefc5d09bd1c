"""The settings that SDKs load: a host in them overrules the one that the app was built with."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.receive.settings import settings
from tests.receive.conftest import KEY, Door, OpenDoor
from tests.support import make_config

PATHS = [f"/v1/projects/{KEY}/settings", f"/projects/{KEY}/settings"]
PATH = PATHS[0]
TRUSTED = {"trusted_proxies": ["127.0.0.0/8", "::1"]}


async def integration(door: Door, path: str = PATH, **headers: str) -> dict[str, Any]:
    """What an SDK takes its host from."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await door.client.get(path, headers=names)
    assert (answer.status, answer.content_type) == (200, "application/json")
    body = await answer.json()
    assert list(body["integrations"]) == ["Segment.io"]
    return dict(body["integrations"]["Segment.io"])


@pytest.mark.parametrize("path", PATHS, ids=["with /v1", "without"])
async def test_the_host_to_send_to_is_the_one_that_was_asked(door: Door, path: str) -> None:
    found = await integration(door, path, Host="events.example.com:8443")
    assert (found["apiKey"], found["apiHost"]) == (KEY, "events.example.com:8443/v1")


async def test_what_every_sdk_needs_is_there() -> None:
    """Kotlin decodes `apiKey` as a string and these sections as objects, without defaults; a
    second integration would make analytics-next load Segment's scripts for it; a sample rate of 0
    keeps counters away. Source: analytics-kotlin, analytics-react-native, analytics-next.
    """
    document: dict[str, Any] = settings(KEY, "events.example.com", "https")
    own = document["integrations"].pop("Segment.io")
    assert document["integrations"] == {}
    assert (own["apiKey"], own["apiHost"]) == (KEY, "events.example.com/v1")
    assert own["unbundledIntegrations"] == []
    for section in ("plan", "edgeFunction", "middlewareSettings"):
        assert isinstance(document[section], dict)
    assert document["plan"]["track"]["__default"]["enabled"] is True
    assert document["metrics"]["sampleRate"] == 0
    assert document["remotePlugins"] == []


@pytest.mark.parametrize(
    ("public_url", "host", "protocol"),
    [
        ("https://events.example.com", "events.example.com/v1", None),
        ("https://example.com:8443/segment/", "example.com:8443/segment/v1", None),
        ("http://10.0.0.5:8080", "10.0.0.5:8080/v1", "http"),
        ("https://[2001:db8::5]", "[2001:db8::5]/v1", None),
    ],
)
async def test_a_public_name_overrules_the_host_that_was_asked(
    open_door: OpenDoor, public_url: str, host: str, protocol: str | None
) -> None:
    door = await open_door(make_config(server={"public_url": public_url, **TRUSTED}))
    found = await integration(door, X_Forwarded_Host="x.example.com", X_Forwarded_Proto="http")
    assert (found["apiHost"], found.get("protocol")) == (host, protocol)


@pytest.mark.parametrize(
    ("headers", "host", "protocol"),
    [
        ({"X_Forwarded_Host": "a.example.com", "X_Forwarded_Proto": "https"},
         "a.example.com/v1", None),
        ({"X_Forwarded_Host": "a.example.com:8443"}, "a.example.com:8443/v1", "http"),
        ({"X_Forwarded_Proto": "https"}, "inner:8080/v1", None),
        ({"X_Forwarded_Host": "a.example.com, b.example.com", "X_Forwarded_Proto": "https, http"},
         "a.example.com/v1", None),
        ({"X_Forwarded_Host": "", "X_Forwarded_Proto": ""}, "inner:8080/v1", "http"),
    ],
    ids=["host and scheme", "host alone", "scheme alone", "two proxies", "empty"],
)  # fmt: skip
async def test_a_trusted_proxy_tells_what_was_asked(
    open_door: OpenDoor, headers: dict[str, str], host: str, protocol: str | None
) -> None:
    """Of two proxies the outer one's word comes first."""
    door = await open_door(make_config(server=TRUSTED))
    found = await integration(door, Host="inner:8080", **headers)
    assert (found["apiHost"], found.get("protocol")) == (host, protocol)


async def test_nobody_else_is_believed(open_door: OpenDoor) -> None:
    door = await open_door(make_config(server={"trusted_proxies": ["10.0.0.0/8"]}))
    found = await integration(
        door, Host="here:80", X_Forwarded_Host="evil.example.com", X_Forwarded_Proto="https"
    )
    assert (found["apiHost"], found["protocol"]) == ("here:80/v1", "http")


@pytest.mark.parametrize("key", ["wk_old", "wk_new"])
async def test_every_key_of_a_source_has_settings_that_name_it(
    open_door: OpenDoor, key: str
) -> None:
    """An app in the stores keeps its old key for years."""
    door = await open_door(make_config({"write_key": ["wk_new", "wk_old"]}))
    found = await integration(door, f"/v1/projects/{key}/settings")
    assert found["apiKey"] == key


@pytest.mark.parametrize("key", ["wk_other", "wk_acme2", "%00", "%FF", "k" * 8_000])
@pytest.mark.parametrize("prefix", ["/v1", ""])
async def test_an_unknown_key_has_no_settings(door: Door, prefix: str, key: str) -> None:
    answer = await door.client.get(f"{prefix}/projects/{key}/settings")
    assert answer.status == 404
    assert (await answer.json())["code"] == "unknown_source"


@pytest.mark.parametrize("path", [PATH, "/v1/projects/wk_other/settings"])
async def test_pages_of_any_origin_may_read_the_answer(door: Door, path: str) -> None:
    """analytics-next does not start at all without its settings."""
    answer = await door.client.get(path, headers={"Origin": "https://shop.example.com"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"
    assert answer.headers.getall("Vary") == ["Origin"]


async def test_a_cache_never_hands_an_apps_answer_to_a_page(door: Door) -> None:
    """An app's request has no Origin. Its answer, kept by a shared cache without Vary, would be
    given to browsers, which need the origin in it (Fetch standard, "CORS protocol and HTTP
    caches").
    """
    answer = await door.client.get(PATH)
    assert "public" in answer.headers["Cache-Control"]
    assert answer.headers.getall("Vary") == ["Origin"]


async def test_settings_are_read_while_no_message_is_taken(open_door: OpenDoor) -> None:
    """A browser that finds none gives its page up; what it sends later is asked to wait."""
    door = await open_door(make_config(spool={"high_water_megabytes": 0.000_001}))
    assert (await door.post("/v1/track", {})).status == 429
    assert (await integration(door))["apiKey"] == KEY


async def test_a_host_that_is_no_text_is_the_askers_own_problem(door: Door) -> None:
    answer = await door.exchange(f"GET {PATH} HTTP/1.1\r\nHost: \xff")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"bad_request"' in answer
