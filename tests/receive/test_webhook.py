"""Segment's Webhook destination: what it sends, how it signs, and what it must be answered."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import logging
from typing import Any

import apsw
import pytest
import structlog
from aiohttp import ClientResponse

from proxy.occasionally import Occasionally
from proxy.receive.webhook import is_signed
from tests.receive.conftest import KEY, Door, OpenDoor, track
from tests.support import SOURCE, make_config

TOKEN = "3f9c0a77d1e64b52"
PATH = f"/webhooks/segment/{TOKEN}"
SECRET = "s3cret"

#: What Node's JSON.stringify made of an event, and Node's HMAC of it with SECRET. Read and written
#: again by anybody else the numbers and the half of an emoji come out differently.
FIRST = (
    '{"type":"track","event":"Käse ☂","userId":"u-1","messageId":"m-1","properties":'
    '{"revenue":1e-7,"total":1.5,"big":1e+21,"cut":"\\ud83d","line":"\u2028</"}}'
).encode()
SIGNATURE = "ba154dc23f911c0dd51fec84aea79390386358bc"
SECOND = b'{"type":"identify","userId":"u-2","messageId":"m-2"}'


@pytest.fixture
async def door(open_door: OpenDoor) -> Door:
    """Without a secret: whoever knows the token may write."""
    return await open_door(make_config({"webhook_token": TOKEN}))


@pytest.fixture
async def signed(open_door: OpenDoor) -> Door:
    """In the midst of a rotation."""
    source = {"webhook_token": TOKEN, "webhook_secret": ["n3w", SECRET]}
    return await open_door(make_config(source))


async def send(
    door: Door, body: Any, signature: str | None = None, method: str = "POST", path: str = PATH
) -> ClientResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "Segment (Actions)"}
    if signature is not None:
        headers["X-Signature"] = signature
    return await door.client.request(method, path, data=data, headers=headers)


def by_hand(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha1).hexdigest()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_an_event_comes_by_whichever_method_was_chosen(door: Door, method: str) -> None:
    answer = await send(door, track(), method=method)
    assert (answer.status, await answer.read()) == (200, b'{"success": true}')
    assert door.types() == [("acme", "track")]


async def test_an_array_is_as_many_events_each_as_it_was_written(door: Door) -> None:
    body = b" [\n" + SECOND + b' , {"type":"track", "userId":"u","event":"E","n":1e-7}]\n'
    assert (await send(door, body)).status == 200
    assert door.raws() == [SECOND, b'{"type":"track", "userId":"u","event":"E","n":1e-7}']


@pytest.mark.parametrize(
    "body",
    [FIRST, b"[" + FIRST + b"," + SECOND + b"]", b"[ " + FIRST + b" ]"],
    ids=["single", "array", "array of one"],
)
async def test_what_segment_signed_is_taken_and_its_numbers_are_kept(
    signed: Door, body: bytes
) -> None:
    """Of an array only the first element is signed (segmentio/action-destinations, Webhook)."""
    assert (await send(signed, body, SIGNATURE)).status == 200
    first = signed.raws()[0]
    assert first == FIRST.replace(b"\\ud83d", b"\\ufffd")  # text that can be stored


@pytest.mark.parametrize(
    "signature",
    [SIGNATURE.upper(), f" {SIGNATURE} ", by_hand("n3w", FIRST)],
    ids=["upper case", "space", "new secret"],
)
async def test_either_secret_may_have_signed(signed: Door, signature: str) -> None:
    assert (await send(signed, FIRST, signature)).status == 200


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (FIRST, None),
        (FIRST, ""),
        (FIRST, SIGNATURE[:-1]),
        (FIRST, SIGNATURE[:-1] + "0"),
        (FIRST, f"sha1={SIGNATURE}"),
        (FIRST, by_hand("", FIRST)),
        (FIRST, by_hand("other", FIRST)),
        (FIRST, "ü" * 40),
        (FIRST + b" ", SIGNATURE),
        (FIRST.replace(b"1e-7", b"1E-7"), SIGNATURE),
        (b"[" + SECOND + b"," + FIRST + b"]", SIGNATURE),
        (b"[" + FIRST + b"," + SECOND + b"]", by_hand(SECRET, b"[" + FIRST + b"," + SECOND + b"]")),
        (b"[]", SIGNATURE),
        (b"[]", None),
        (b"", None),
    ],
    ids=["none", "empty", "cut", "one digit", "prefix", "empty secret", "other secret",
         "not ASCII", "body with space", "number written anew", "second element",
         "whole array", "empty array", "empty array, none", "nothing, none"],
)  # fmt: skip
async def test_without_the_right_signature_nothing_is_taken(
    signed: Door, body: bytes, signature: str | None
) -> None:
    answer = await send(signed, body, signature)
    assert (answer.status, (await answer.json())["code"]) == (401, "bad_signature")
    assert signed.counts().received == 0


async def test_a_signature_that_is_no_text_is_a_wrong_one(signed: Door) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX-Signature: \xff"
    answer = await signed.exchange(head)
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_an_empty_secret_signs_nothing() -> None:
    assert not is_signed(FIRST, by_hand("", FIRST), ())
    assert is_signed(FIRST, SIGNATURE, ("n3w", SECRET))


@pytest.mark.parametrize("token", ["other", KEY, SECRET, TOKEN.upper(), TOKEN + "x", "%00", "%ff"])
async def test_a_wrong_token_is_not_found_and_in_no_log(
    door: Door,
    token: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is a right one with a mistake in it, as often as not."""
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        answer = await send(door, track(), path=f"/webhooks/segment/{token}")
    assert (answer.status, (await answer.json())["code"]) == (404, "not_found")
    assert token not in (await answer.json())["message"]
    out, err = capfd.readouterr()
    server_logs = [record for record in caplog.records if record.name.startswith("aiohttp")]
    assert token not in f"{logs}{server_logs}{out}{err}"
    assert door.counts().received == 0


async def test_an_empty_token_opens_no_source(open_door: OpenDoor) -> None:
    """A source without a webhook has the token ""."""
    door = await open_door(make_config())
    for path in ("/webhooks/segment/", "/webhooks/segment/%20"):
        assert (await send(door, track(), path=path)).status == 404


async def test_a_fault_of_ours_is_503_and_logged_without_the_token(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(door.door, "keep", fail)
    with structlog.testing.capture_logs() as logs:
        answer = await send(door, track())
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert [entry["event"] for entry in logs] == ["handler_failed"]
    assert TOKEN not in str(logs)


async def test_each_token_writes_to_its_own_source(open_door: OpenDoor) -> None:
    sources = [
        {**SOURCE, "webhook_token": TOKEN},
        {**SOURCE, "name": "beta", "write_key": "wk_beta", "webhook_token": "t-beta"},
    ]
    door = await open_door(make_config(sources=sources))
    await send(door, track("m-1", writeKey=KEY), path="/webhooks/segment/t-beta")
    await send(door, track("m-2", writeKey="wk_beta"))
    assert door.types() == [("beta", "track"), ("acme", "track")]


async def test_an_item_that_is_no_message_sinks_no_other(door: Door) -> None:
    deep = '{"type":"track","userId":"u","event":"E","p":' + "[" * 5_000 + "]" * 5_000 + "}"
    odd = ["null", "7", '"text"', "[]", "{}", '{"type":"refund","userId":"u"}', deep]
    body = ",".join([SECOND.decode(), *odd, json.dumps(track("m-3"))])
    assert (await send(door, f"[{body}]".encode())).status == 200
    counts = door.counts()
    assert (counts.pending, counts.received) == (2, 9)
    assert counts.rejected == {"bad_request": 5, "missing_type": 1, "invalid_type": 1}


async def test_an_empty_array_is_counted_as_segment_counts_it(door: Door) -> None:
    assert (await send(door, b"[]")).status == 200
    assert door.counts().rejected == {"empty_batch": 1}


async def test_a_torn_array_is_refused_whole(door: Door) -> None:
    answer = await send(door, b"[" + SECOND + b",")
    assert (answer.status, (await answer.json())["code"]) == (400, "bad_request")
    assert door.counts().received == 0


@pytest.mark.parametrize("is_array", [False, True], ids=["single", "array"])
async def test_a_message_that_segment_made_larger_is_taken_here_alone(
    door: Door, is_array: bool
) -> None:
    """32 KB is the limit for what a client sends; Segment adds its own fields to that."""
    message = track(pad="x" * 40_000)
    assert (await door.post("/v1/track", message)).status == 400
    assert (await send(door, [message] if is_array else message)).status == 200
    assert door.counts().pending == 1


async def test_segments_own_fullest_batch_is_taken(door: Door) -> None:
    """4,000 events in one array (action-destinations: `batch_size`), beyond a client's 2,500."""
    batch = [track(f"m-{n}", pad="x" * 500) for n in range(4_000)]
    answer = await door.client.post(PATH, data=io.BytesIO(json.dumps(batch).encode()))
    assert answer.status == 200
    assert door.counts().pending == 4_000


def leave_no_room(cursor: apsw.Cursor) -> None:
    """The file may not grow any more."""
    (pages,) = next(cursor.execute("PRAGMA page_count"))
    cursor.execute(f"PRAGMA max_page_count = {pages}")


async def test_a_full_disk_asks_segment_to_come_again(door: Door) -> None:
    await door.database.write(leave_no_room)
    answer = await send(door, [track(f"m-{n}", pad="x" * 9_000) for n in range(9)])
    assert (answer.status, (await answer.json())["code"]) == (503, "storage_unavailable")
    assert door.counts().received == 0


async def test_a_full_disk_is_logged_now_and_then(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.receive.tracking._not_accepted", Occasionally())
    await door.database.write(leave_no_room)
    large = [track(f"m-{n}", pad="x" * 9_000) for n in range(9)]
    with structlog.testing.capture_logs() as logs:
        answers = [await send(door, large) for _ in range(5)]
    assert [answer.status for answer in answers] == [503] * 5
    assert [(log["event"], log["times"]) for log in logs] == [("not_accepted", 1)]


async def test_where_segment_calls_from_is_not_where_the_user_is(open_door: OpenDoor) -> None:
    server = {"trusted_proxies": ["127.0.0.1", "::1"]}
    door = await open_door(make_config({"webhook_token": TOKEN}, server=server))
    context = {"library": {"name": "analytics-swift"}, "direct": True}
    headers = {"X-Forwarded-For": "203.0.113.7"}
    await door.client.post(PATH, json=track(context=context), headers=headers)
    assert [facts.ip for facts in door.facts()] == [None]
