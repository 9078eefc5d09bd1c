"""Leave for pages of other origins (proxy/receive/browser.py, `allow_origins`)."""

from __future__ import annotations

import json
from typing import Any

import apsw
import pytest

from tests.receive.conftest import KEY, Door, OpenDoor, basic, track
from tests.support import make_config

ORIGIN = "https://shop.example.com"


def listed(header: str) -> set[str]:
    return {word.strip().lower() for word in header.split(",")}


def assert_readable(headers: Any, origin: str = ORIGIN) -> None:
    """That a browser shows this answer to the page, with or without credentials."""
    assert headers["Access-Control-Allow-Origin"] == origin
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert headers.getall("Vary") == ["Origin"]
    assert "retry-after" in listed(headers["Access-Control-Expose-Headers"])


@pytest.mark.parametrize("path", ["/v1/t", "/v1/b", "/t", "/v1/m", "/v1/projects/wk/settings"])
@pytest.mark.parametrize(
    "asked",
    ["authorization", "authorization,content-type", "authorization,content-type,x-retry-count"],
)
async def test_what_analytics_next_asks_for_beforehand_is_allowed(
    door: Door, path: str, asked: str
) -> None:
    """analytics-next sends Authorization since 1.84.0, and X-Retry-Count when it tries again.

    No preflight carries a key.
    """
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    answer = await door.client.options(path, headers=headers)
    assert answer.status in (200, 204)
    assert await answer.read() == b""
    assert_readable(answer.headers)
    assert listed(answer.headers["Access-Control-Allow-Methods"]) >= {"get", "post"}
    assert listed(answer.headers["Access-Control-Allow-Headers"]) >= listed(asked)
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


async def test_a_preflight_is_answered_above_the_high_water_mark(open_door: OpenDoor) -> None:
    """Refused there, a browser would see an error without a status, not "come again"."""
    door = await open_door(make_config(spool={"high_water_megabytes": 0.000_001}))
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = await door.client.options("/v1/t", headers=headers)
    assert answer.status in (200, 204)
    answer = await door.post("/v1/t", track(), Origin=ORIGIN)
    assert answer.status == 429
    assert_readable(answer.headers)


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000", "null", "https://a.example"])
async def test_whatever_origin_calls_is_named_in_the_answer(door: Door, origin: str) -> None:
    """ "null" is what pages from files and sandboxed frames send."""
    answer = await door.post("/v1/t", track(), Origin=origin)
    assert answer.status == 200
    assert_readable(answer.headers, origin)
    assert "Access-Control-Allow-Methods" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/t", 401),
        ("POST", f"/v1/t?writeKey={KEY}", 400),
        ("GET", "/v1/t?callback=a(b)", 400),
        ("GET", "/v1/pixel/track", 200),
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/projects/wk_other/settings", 404),
        ("DELETE", "/v1/t", 405),
        ("OPTIONS", "/v1/t", 405),
    ],
)
async def test_a_refusal_can_be_read_too(door: Door, method: str, path: str, status: int) -> None:
    """Else a page sees a network error for a wrong key, and tries again for ever."""
    body = b"{}" if status == 401 else b"no JSON"
    answer = await door.client.request(method, path, data=body, headers={"Origin": ORIGIN})
    assert answer.status == status
    assert_readable(answer.headers)


async def test_a_full_disk_is_told_to_pages(door: Door) -> None:
    def leave_no_room(cursor: apsw.Cursor) -> None:
        (pages,) = next(cursor.execute("PRAGMA page_count"))
        cursor.execute(f"PRAGMA max_page_count = {pages}")

    await door.database.write(leave_no_room)
    batch = {"batch": [track(f"m-{n}", pad="x" * 9_000) for n in range(9)]}
    answer = await door.post("/v1/b", batch, Origin=ORIGIN)
    assert answer.status == 503
    assert_readable(answer.headers)
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/v1/t", "/v1/nothing", "/v1/pixel/track"])
async def test_who_is_no_page_gets_no_leave(door: Door, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = await door.client.request(method, path, json=track())
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("origin", ["\xff", "https://\xc3\xa9.example", "a\x0bb", "x" * 7_000])
async def test_an_odd_origin_harms_nobody(door: Door, origin: str) -> None:
    """What is no text in the request cannot be written into the answer."""
    head = f"GET /v1/projects/{KEY}/settings HTTP/1.1\r\nHost: x\r\nOrigin: {origin}"
    answer = await door.exchange(head)
    assert answer[:13] in (b"HTTP/1.1 200 ", b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")


async def test_what_a_page_sends_as_it_is_left_is_taken(door: Door) -> None:
    """navigator.sendBeacon: no header of its own, so no preflight; the key stands in the body."""
    answer = await door.client.post(
        "/v1/b",
        data=json.dumps({"batch": [track()], "writeKey": KEY}),
        headers={"Origin": ORIGIN, "Content-Type": "text/plain;charset=UTF-8"},
    )
    assert answer.status == 200
    assert_readable(answer.headers)
    assert door.types() == [("acme", "track")]


async def test_a_call_with_credentials_is_taken(door: Door) -> None:
    answer = await door.client.post(
        "/v1/t",
        data=json.dumps(track()),
        headers={
            "Origin": ORIGIN,
            "Content-Type": "text/plain",
            "Authorization": basic(f"{KEY}:"),
            "X-Retry-Count": "2",
            "Cookie": "session=1",
        },
    )
    assert answer.status == 200
    assert_readable(answer.headers)
    assert "Set-Cookie" not in answer.headers
