"""Calls made by a GET: pixels, which always answer with an image, and JSONP."""

from __future__ import annotations

import base64
import json
from typing import Any

import apsw
import pytest

from proxy.receive.browser import PIXEL
from tests.receive.conftest import KEY, Door, OpenDoor, basic
from tests.support import make_config

PATH = "/v1/pixel/track"
MESSAGE = {"event": "Email Opened", "userId": "u-1", "properties": {"subject": "Grüße ☂"}}


def encoded(message: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(message).encode()).decode()


GOOD = {"data": encoded(MESSAGE), "writeKey": KEY}


async def pixel(door: Door, query: dict[str, str] | str, **headers: str) -> None:
    """Asks for a pixel, which comes whatever becomes of the message."""
    answer = (
        await door.client.get(f"{PATH}?{query}", headers=headers)
        if isinstance(query, str)
        else await door.client.get(PATH, params=query, headers=headers)
    )
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/gif")
    assert await answer.read() == PIXEL
    assert answer.headers["Cache-Control"] == "no-store"


def kept(door: Door) -> list[Any]:
    return [json.loads(raw) for raw in door.raws()]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"data": encoded(MESSAGE)},
        {"data": encoded(MESSAGE), "writeKey": "wk_other"},
        {**GOOD, "data": ""},
        {**GOOD, "data": "a"},
        {**GOOD, "data": "☂"},
        {**GOOD, "data": "!!!!"},
        {**GOOD, "data": base64.b64encode(b"{").decode()},
        {**GOOD, "data": base64.b64encode(b"\xff\xfe").decode()},
        {**GOOD, "data": encoded([MESSAGE])},
        {**GOOD, "data": base64.b64encode(b"[" * 5_000).decode()},
        {**GOOD, "data": encoded({**MESSAGE, "pad": "x" * 32_768})},
        {**GOOD, "data": "A" * 60_000},
        "writeKey=%ff&data=%00",
        "%ED%A0%80=%ED%A0%80&=&&==",
    ],
    ids=["nothing", "no key", "unknown key", "empty", "one letter", "not ASCII", "no letters",
         "torn JSON", "no text", "a list", "deep JSON", "too large", "far too large",
         "no UTF-8", "surrogates"],
)  # fmt: skip
async def test_an_image_comes_for_what_is_refused_as_a_whole(
    door: Door, query: dict[str, str] | str
) -> None:
    await pixel(door, query)
    assert door.counts().received == 0


async def test_an_image_comes_for_a_message_that_is_rejected_and_counted(door: Door) -> None:
    await pixel(door, {"data": encoded({"userId": "u-1"}), "writeKey": KEY})
    assert door.counts().rejected == {"event_not_defined": 1}


async def test_an_image_comes_while_the_disk_is_broken(door: Door) -> None:
    def fail(_: apsw.Cursor) -> None:
        raise apsw.IOError("disk I/O error")

    with pytest.raises(Exception, match="disk I/O error"):
        await door.database.write(fail)
    await pixel(door, GOOD)
    assert door.raws() == []


@pytest.mark.parametrize(
    "limit",
    [{"spool": {"high_water_megabytes": 0.000_001}}, {"source": {"rate_limit": 0.001}}],
    ids=["high water", "rate"],
)
async def test_an_image_comes_while_clients_are_told_to_wait(
    open_door: OpenDoor, limit: dict[str, Any]
) -> None:
    door = await open_door(make_config(**limit))
    for _ in range(2):
        await pixel(door, GOOD)
    assert door.counts().received == (1 if "source" in limit else 0)


@pytest.mark.parametrize("end", ["", "}", "?>", "??>>", "~~~~~"])
@pytest.mark.parametrize("alphabet", ["-_", "+/", "+/ as it arrives", "%2B%2F"])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "not padded"])
async def test_data_is_base64_of_either_alphabet(
    door: Door, end: str, alphabet: str, padded: bool
) -> None:
    """@segment/send-json writes "-" and "_"; btoa and libraries of other languages do not. In a
    query that is not escaped "+" means a space.
    """
    raw = json.dumps({**MESSAGE, "writeKey": KEY, "note": "ÿþ~" + end}, ensure_ascii=False)
    data = base64.b64encode(raw.encode()).decode()
    assert "+" in data or "/" in data
    if not padded:
        data = data.rstrip("=")
    match alphabet:
        case "-_":
            data = data.replace("+", "-").replace("/", "_")
        case "+/ as it arrives":
            data = data.replace("+", "%20")
        case "%2B%2F":
            data = data.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    answer = await door.exchange(f"GET {PATH}?data={data} HTTP/1.1\r\nHost: x")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert door.raws() == [raw.encode()]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("userId=u&event=Opened&properties.subject=Hi%20there&properties.a.b.c=1",
         {"userId": "u", "event": "Opened",
          "properties": {"subject": "Hi there", "a": {"b": {"c": "1"}}}}),
        ("userId=u&event=E&context.a=1&context.a.b=2", {"userId": "u", "event": "E",
                                                        "context": {"a": "1"}}),
        ("userId=u&event=E&userId=v", {"userId": "u", "event": "E"}),
        ("userId=u&event=%C3%A9%22%0A%00", {"userId": "u", "event": 'é"\n\0'}),
        ("userId=u&event=E&.=1&..x=2", {"userId": "u", "event": "E",
                                        "": {"": "1"}}),
    ],
    ids=["nested", "a value and an object", "a name twice", "signs that JSON escapes", "no names"],
)  # fmt: skip
async def test_a_query_names_the_parts_of_a_message_by_dotted_names(
    door: Door, query: str, message: dict[str, Any]
) -> None:
    """Of what contradicts itself the first counts."""
    await pixel(door, query, Authorization=basic(f"{KEY}:"))
    assert kept(door) == [message]


async def test_of_an_object_and_a_value_the_first_counts_too(door: Door) -> None:
    await pixel(
        door, f"writeKey={KEY}&userId=u&event=E&properties.a.b=2&properties.a=1&properties="
    )
    assert [message["properties"] for message in kept(door)] == [{"a": {"b": "2"}}]


@pytest.mark.parametrize("levels", [200, 3_000])
async def test_no_number_of_dots_makes_a_message_unreadable(door: Door, levels: int) -> None:
    await pixel(door, f"writeKey={KEY}&userId=u&event=E&properties{'.x' * levels}=1")
    assert door.counts().pending == 1


async def test_the_connection_says_where_a_pixel_was_seen(open_door: OpenDoor) -> None:
    door = await open_door(make_config(server={"trusted_proxies": ["127.0.0.1", "::1"]}))
    await pixel(door, GOOD, **{"X-Forwarded-For": "203.0.113.7"})
    assert [facts.ip for facts in door.facts()] == ["203.0.113.7"]


async def test_two_pixels_without_a_message_id_are_two(door: Door) -> None:
    for _ in range(2):
        await pixel(door, GOOD)
    assert door.counts().pending == 2


@pytest.mark.parametrize("callback", ["__jp0", "$", "_.a.b$1", "j" * 64])
async def test_a_jsonp_call_answers_with_a_call_of_the_pages_function(
    door: Door, callback: str
) -> None:
    answer = await door.client.get("/v1/t", params={**GOOD, "callback": callback})
    assert (answer.status, answer.content_type) == (200, "application/javascript")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert await answer.text() == f'/**/{callback}({{"success": true}});'
    assert kept(door) == [MESSAGE]


async def test_without_a_callback_the_answer_is_that_of_a_post(door: Door) -> None:
    answer = await door.client.get("/v1/t", params=GOOD)
    assert (await answer.read(), answer.content_type) == (b'{"success": true}', "application/json")
    assert kept(door) == [MESSAGE]


HOSTILE = {
    "alert": "alert(1)", "end of script": "</script><script>alert(1)</script>", "line": "a\n",
    "carriage return": "a\r\nSet-Cookie: a=b", "semicolon": "a;b", "empty": "", "space": " a",
    "digit first": "1a", "dot first": ".a", "brackets": "a[0]", "comment": "a/**/",
    "letters beyond ASCII": "rückruf", "line separator": "a\u2028", "NUL": "a\0", "long": "a" * 65,
    "10 kB": "a" * 10_000,
}  # fmt: skip


@pytest.mark.parametrize(
    "callback", [pytest.param(text, id=name) for name, text in HOSTILE.items()]
)
async def test_what_is_no_plain_name_is_never_called_nor_repeated(
    door: Door, callback: str
) -> None:
    """Else any page could make this origin serve a script, or markup, of its choice."""
    answer = await door.client.get("/v1/t", params={**GOOD, "callback": callback})
    assert (answer.status, answer.content_type) == (400, "application/json")
    body = await answer.json()
    assert (body["success"], body["code"]) == (False, "bad_request")
    assert body["message"] == "callback is not the name of a function"
    assert door.counts().received == 0


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"data": encoded(MESSAGE)}, 401, "unknown_source"),
        ({**GOOD, "data": "e"}, 400, "bad_request"),
        ({**GOOD, "data": encoded(None)}, 400, "bad_request"),
        ({**GOOD, "data": encoded({**MESSAGE, "pad": "x" * 32_768})}, 400, "payload_too_large"),
    ],
    ids=["no key", "bad base64", "no object", "too large"],
)
async def test_a_jsonp_call_that_is_refused_says_why(
    door: Door, query: dict[str, str], status: int, code: str
) -> None:
    answer = await door.client.get("/v1/t", params={**query, "callback": "__jp0"})
    assert (answer.status, answer.content_type) == (status, "application/json")
    assert (await answer.json())["code"] == code


async def test_a_jsonp_call_is_told_to_wait_above_the_high_water_mark(open_door: OpenDoor) -> None:
    door = await open_door(make_config(spool={"high_water_megabytes": 0.000_001}))
    answer = await door.client.get("/v1/t", params={**GOOD, "callback": "__jp0"})
    assert (answer.status, (await answer.json())["code"]) == (429, "backlog_too_large")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", [PATH, "/v1/t"])
async def test_asking_for_the_head_alone_keeps_nothing(door: Door, path: str) -> None:
    """Mail scanners look so at what links lead to (RFC 9110, section 9.2.1: HEAD is safe)."""
    answer = await door.client.head(path, params=GOOD)
    assert answer.status == 200
    assert door.counts().received == 0
