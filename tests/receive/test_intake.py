from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from proxy.errors import RequestRefused
from proxy.receive.intake import Batch, read_batch, read_message, take_batch, take_message
from proxy.receive.slices import at_once
from tests.receive.conftest import KEY, Door, track
from tests.receive.strategies import messages
from tests.support import NOW


def _raw(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode()


#: Messages that must not sink their neighbours, by the reason they are counted under.
BAD: dict[str, list[bytes]] = {
    "bad_request": [b"null", b"7", b'"text"', b"[]", b'{"type":"track","event":"\xff"}'],
    "missing_type": [b"{}", b'{"type":null,"userId":"u"}', b'{"type":"","userId":"u"}'],
    "invalid_type": [b'{"type":"delete","userId":"u"}', b'{"type":7}'],
    "no_user_anon_id": [b'{"type":"track","event":"A"}', b'{"type":"page","userId":""}'],
    "id_not_string": [b'{"type":"page","userId":7}', b'{"type":"page","anonymousId":{}}'],
    "event_not_defined": [b'{"type":"track","userId":"u"}'],
    "message_too_large": [_raw(track("big", pad="x" * 32 * 1024))],
}


async def test_good_and_bad_messages_of_one_batch_are_kept_apart(door: Door) -> None:
    good = [
        b'{ "type":"track", "event":"\xc3\xa4", "userId":"u", "messageId":"%d", "n":1.50e0 }' % n
        for n in range(sum(map(len, BAD.values())))
    ]
    bad = [raw for raws in BAD.values() for raw in raws]
    mixed = b" ,\n".join(b"%b,%b" % pair for pair in zip(good, bad, strict=True))
    answer = await door.post("/v1/batch", b'{"batch": [' + mixed + b"]}")
    assert (answer.status, await answer.read()) == (200, b'{"success": true}')
    assert door.raws() == good
    counts = door.counts()
    assert counts.rejected == {reason: len(raws) for reason, raws in BAD.items()}
    assert (counts.received, counts.pending) == (2 * len(good), len(good))


@settings(deadline=None)
@given(messages)
def test_a_message_is_taken_alike_alone_and_in_a_batch(message: dict[str, Any]) -> None:
    raw, _ = read_message(json.dumps(message).encode())
    batch = Batch(batch=[msgspec.Raw(raw)])
    beside = at_once(take_batch(batch, "acme", NOW, "192.0.2.1", lambda: "made"))
    type_ = message.get("type")
    if type_ and isinstance(type_, str):  # else only the path could name it
        alone = take_message(raw, type_, "acme", NOW, "192.0.2.1", lambda: "made")
        assert (list(alone.events), alone.rejected) == (list(beside.events), beside.rejected)
        assert alone.messages == beside.messages == 1


async def test_a_message_of_exactly_the_limit_is_kept(door: Door) -> None:
    fits = _raw(track(pad=""))
    fits = fits[:-2] + b"x" * (32 * 1024 - len(fits)) + fits[-2:]
    await door.post("/v1/batch", b'{"batch":[' + fits + b"]}")
    assert door.raws() == [fits]


@pytest.mark.parametrize("beside", ["context", "integrations", "sentAt"])
async def test_what_stands_beside_the_messages_counts_as_part_of_each(
    door: Door, beside: str
) -> None:
    """It is kept with each of them: half a megabyte would become a gigabyte."""
    body = {"batch": [track("m-1"), track("m-2")], beside: {"pad": "x" * 33_000}}
    assert (await door.post("/v1/batch", body)).status == 200
    assert (door.counts().received, door.counts().rejected) == (2, {"message_too_large": 2})


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track"])
async def test_a_key_that_nobody_can_hold_is_none(door: Door, path: str) -> None:
    message = json.dumps(track()).encode()
    body = b'{"batch":[' + message + b'],"writeKey":1e999}'
    if path == "/v1/track":
        body = message[:-1] + b',"writeKey":1e999}'
    assert (await door.post(path, body)).status == 200
    assert (await door.post(path, body, key=None)).status == 401
    assert door.counts().received == 1


async def test_an_empty_batch_is_a_success_counted_as_refused(door: Door) -> None:
    assert (await door.post("/v1/batch", {"batch": []})).status == 200
    assert (door.counts().received, door.counts().rejected) == (1, {"empty_batch": 1})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/v1/batch", b"", id="empty"),
        pytest.param("/v1/batch", b"\xff\xfe{}", id="utf-16"),
        pytest.param("/v1/batch", b'{"batch":[', id="cut off"),
        pytest.param("/v1/batch", b'{"batch":[]}]', id="something behind"),
        pytest.param("/v1/batch", b'{"batch":[{"a":NaN}]}', id="NaN"),
        pytest.param("/v1/batch", b'{"batch":[{"a":-Infinity}]}', id="Infinity"),
        pytest.param("/v1/batch", b'{"batch":[{"a":"\x00"}]}', id="control character"),
        pytest.param("/v1/batch", b"[]", id="array for a batch"),
        pytest.param("/v1/batch", b'{"batch":{}}', id="batch not a list"),
        pytest.param("/v1/batch", b'{"batch":null}', id="batch null"),
        pytest.param("/v1/batch", b"[" * 10_000 + b"]" * 10_000, id="deep array"),
        pytest.param("/v1/track", b"[]", id="array for a message"),
        pytest.param("/v1/track", b"null", id="null"),
        pytest.param("/v1/track", b'"text"', id="text"),
        pytest.param("/v1/track", b"{'event': 1}", id="single quotes"),
        pytest.param("/v1/track", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, id="deep objects"),
    ],
)
async def test_what_is_not_such_json_is_refused_with_a_reason(
    door: Door, path: str, body: bytes
) -> None:
    answer = await door.post(path, body)
    refusal = await answer.json()
    assert (answer.status, refusal["success"], refusal["code"]) == (400, False, "bad_request")
    assert refusal["message"]
    assert door.counts().received == 0


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param(rb'"\u0000"', "\0", id="NUL"),
        pytest.param(rb'"\ud83d\ude00"', "\U0001f600", id="surrogate pair"),
        pytest.param(rb'"a\uD83D"', "a\ufffd", id="lone high surrogate"),
        pytest.param(rb'"\ude00\ud83d"', "\ufffd\ufffd", id="pair the wrong way round"),
        pytest.param(rb'"\\ud83d"', r"\ud83d", id="an escaped backslash is no surrogate"),
        pytest.param(b"123456789012345678901234567890", 123456789012345678901234567890, id="int"),
        pytest.param(b'1,"a":2', 2, id="the last of two same keys"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
async def test_odd_but_valid_json_is_kept(door: Door, path: str, text: bytes, kept: Any) -> None:
    message = b'{"type":"track","event":"e","userId":"u","properties":{"a":' + text + b"}}"
    body = message if path == "/v1/track" else b'{"batch":[' + message + b"]}"
    assert (await door.post(path, body)).status == 200
    (raw,) = door.raws()
    assert msgspec.json.decode(raw)["properties"]["a"] == kept


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"1e999", id="greater than any float"),
        pytest.param(b"1" * 5_000, id="5,000 digits"),
        pytest.param(b"[" * 10_000 + b"]" * 10_000, id="10,000 deep"),
    ],
)
async def test_a_message_beyond_reading_is_refused_alone(door: Door, value: bytes) -> None:
    bad = b'{"type":"track","event":"e","userId":"u","properties":{"a":' + value + b"}}"
    body = b'{"batch":[' + b",".join([_raw(track("1")), bad, _raw(track("2"))]) + b"]}"
    assert (await door.post("/v1/batch", body)).status == 200
    assert door.raws() == [_raw(track("1")), _raw(track("2"))]
    assert door.counts().rejected == {"bad_request": 1}


@pytest.mark.parametrize(("depth", "kept"), [(200, True), (201, False)])
async def test_a_message_may_be_nested_two_hundred_deep(door: Door, depth: int, kept: bool) -> None:
    """The same on every Python: their own limits differ. Brackets in text are no nesting."""
    lists = depth - 2  # inside the message and its properties
    value = b"[" * lists + b'"' + b"[" * 300 + b'"' + b"]" * lists
    message = b'{"type":"track","event":"e","userId":"u","properties":{"a":' + value + b"}}"
    single = await door.post("/v1/track", message)
    batch = await door.post("/v1/batch", b'{"batch":[' + message + b"]}")
    assert (single.status, batch.status) == (200 if kept else 400, 200)
    assert len(door.raws()) == (2 if kept else 0)
    assert door.counts().rejected == ({} if kept else {"bad_request": 1})


async def test_the_facts_of_a_batch_are_kept_beside_each_message(door: Door) -> None:
    body = (
        b'{"batch":[%b],"sentAt":"2026-01-01T00:00:00Z","writeKey":"%b",'
        b'"context":{"ip" : "192.0.2.1"},"integrations":[]}'
    ) % (_raw(track()), KEY.encode())
    await door.post("/v1/batch", body)
    (facts,) = door.facts()
    assert (facts.ip, facts.sent_at) == ("127.0.0.1", "2026-01-01T00:00:00Z")
    assert facts.context == msgspec.Raw(b'{"ip" : "192.0.2.1"}')
    assert facts.integrations is msgspec.UNSET  # anything but an object says nothing


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"batch":[' + b"[" * 1_200 + b'"' + b'\\"' * 30_000, id="open string"),
        pytest.param(b'{"batch":[' + b"[" * 500_000, id="open brackets"),
        pytest.param(b'{"batch":["' + b"\\ud800" * 80_000, id="surrogates"),
    ],
)
def test_no_body_takes_long_to_refuse(body: bytes) -> None:
    began = time.process_time()
    for read in (lambda each: at_once(read_batch(each)), read_message):
        with pytest.raises(RequestRefused):
            read(body)
    assert time.process_time() - began < 2
