"""Every path that some SDK calls, and what is answered on all others."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.receive.conftest import KEY, Door

#: Good for every call.
MESSAGE = {"event": "Tested", "userId": "u-1", "groupId": "g-1", "previousId": "p-1"}

#: Swift, Kotlin, React Native and analytics-next call the first letter of a type.
CALLS = {
    "track": "track", "identify": "identify", "page": "page", "screen": "screen",
    "group": "group", "alias": "alias",
    "t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias",
}  # fmt: skip
BATCHES = ["batch", "import", "b"]

#: analytics-java posts to /v1/import/; apps that are given a whole URL may leave /v1 out.
spelt = pytest.mark.parametrize("spelling", ["/v1/{}", "/v1/{}/", "/{}", "/{}/"])


@spelt
@pytest.mark.parametrize("name", CALLS)
async def test_a_single_call_is_kept_with_the_type_of_its_path(
    door: Door, spelling: str, name: str
) -> None:
    answer = await door.post(spelling.format(name), MESSAGE)
    assert (answer.status, await answer.json()) == (200, {"success": True})
    assert door.types() == [("acme", CALLS[name])]


@spelt
@pytest.mark.parametrize("name", BATCHES)
async def test_a_batch_is_kept_with_the_types_of_its_messages(
    door: Door, spelling: str, name: str
) -> None:
    batch = [{"type": type_, **MESSAGE} for type_ in ("screen", "alias", "track")]
    answer = await door.post(spelling.format(name), {"batch": batch})
    assert (answer.status, await answer.json()) == (200, {"success": True})
    assert door.types() == [("acme", "screen"), ("acme", "alias"), ("acme", "track")]


@spelt
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_by_get_is_kept_with_the_type_of_its_path(
    door: Door, spelling: str, name: str
) -> None:
    data = base64.urlsafe_b64encode(json.dumps(MESSAGE).encode()).decode()
    query = {"data": data, "writeKey": KEY, "callback": "__jp0"}
    answer = await door.client.get(spelling.format(name), params=query)
    assert (answer.status, await answer.text()) == (200, '/**/__jp0({"success": true});')
    assert door.types() == [("acme", CALLS[name])]


@spelt
@pytest.mark.parametrize("type_", sorted(set(CALLS.values())))
async def test_a_pixel_is_kept_with_the_type_of_its_path(
    door: Door, spelling: str, type_: str
) -> None:
    query = {**MESSAGE, "writeKey": KEY}
    answer = await door.client.get(spelling.format(f"pixel/{type_}"), params=query)
    assert (answer.status, answer.content_type) == (200, "image/gif")
    assert door.types() == [("acme", type_)]


async def test_the_path_overrules_what_a_message_says_of_its_type(door: Door) -> None:
    await door.post("/v1/t", {**MESSAGE, "type": "identify"})
    assert door.types() == [("acme", "track")]


@spelt
@pytest.mark.parametrize(
    "body",
    [
        b'{"series":[{"type":"Counter","metric":"analytics_js.invoke","value":1,"tags":{}}]}',
        b"no JSON at all",
    ],
    ids=["as analytics-next sends them", "anything else"],
)
async def test_an_sdks_counters_are_answered_and_dropped(
    door: Door, spelling: str, body: bytes
) -> None:
    answer = await door.post(spelling.format("m"), body, key=None)
    assert (answer.status, await answer.json()) == (200, {"success": True})
    assert door.counts().received == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/b", {"POST"}),
        ("GET", "/v1/import/", {"POST"}),
        ("GET", "/v1/m", {"POST"}),
        ("PUT", "/v1/track", {"GET", "HEAD", "POST"}),
        ("DELETE", "/t/", {"GET", "HEAD", "POST"}),
        ("OPTIONS", "/v1/t", {"GET", "HEAD", "POST"}),  # not the one that browsers ask before
        ("POST", "/v1/pixel/track", {"GET", "HEAD"}),
        ("POST", f"/v1/projects/{KEY}/settings", {"GET", "HEAD"}),
        ("GET", "/webhooks/segment/token", {"PATCH", "POST", "PUT"}),
        ("POST", "/openapi.json", {"GET", "HEAD"}),
        ("POST", "/health/live", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_refused_in_json_with_those_that_are_served(
    door: Door, method: str, path: str, allowed: set[str]
) -> None:
    answer = await door.client.request(method, path)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(",")) == allowed
    assert refusal(await answer.json()) == (False, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v2/track", "/v1/x", "/v1/tracks", "/v1/v1/t", "/V1/track", "/v1/track/x",
     "/v1/t%2F", "/v1/projects/settings", "/webhooks/segment/", "/v1/%00", "/v1/%ff"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_path_is_refused_in_json(door: Door, method: str, path: str) -> None:
    answer = (await door.exchange(f"{method} {path} HTTP/1.1\r\nHost: x")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 404 ")
    assert refusal(json.loads(body)) == (False, "not_found")


def refusal(body: dict[str, Any]) -> tuple[bool, str]:
    assert isinstance(body["message"], str)
    return body["success"], body["code"]
