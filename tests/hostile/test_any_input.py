"""What may come by GET and from Segment's webhook: no 5xx, and the ledger knows of every message
that was acknowledged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from proxy.receive.browser import PIXEL
from tests.receive.conftest import KEY, Door, OpenDoor
from tests.receive.strategies import json_texts, messages, values
from tests.support import make_config

CALLS = ("track", "identify", "page", "screen", "group", "alias")
SECRET = "shared"

fuzz = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_names = st.sampled_from(["userId", "event", "properties.a.b", "data", "callback", "a..b"]) | _words
parameters = st.dictionaries(_names, _words, max_size=6)
data = (
    st.binary(max_size=200) | json_texts | messages.map(lambda one: json.dumps(one).encode())
).map(lambda raw: base64.urlsafe_b64encode(raw).decode()) | _words


@pytest.fixture
async def hook(open_door: OpenDoor) -> Door:
    return await open_door(make_config({"webhook_token": "hook", "webhook_secret": SECRET}))


def _url(path: str, query: dict[str, str]) -> URL:
    return URL(f"{path}?{urlencode(query)}", encoded=True)


@fuzz
@given(call=st.sampled_from(CALLS), query=parameters, data=st.none() | data)
async def test_a_pixel_is_shown_whatever_it_is_asked_for_with(
    door: Door, call: str, query: dict[str, str], data: str | None
) -> None:
    before = door.counts().received
    query |= {"writeKey": KEY} | ({} if data is None else {"data": data})
    answer = await door.client.get(_url(f"/v1/pixel/{call}", query))
    assert (answer.status, await answer.read()) == (200, PIXEL)
    assert door.counts().received - before in (0, 1)


@fuzz
@given(
    call=st.sampled_from([*CALLS, *"tipsga"]),
    query=parameters,
    data=st.none() | data,
    callback=st.none() | st.just("__jp0") | _words,
)
async def test_a_call_by_get_is_counted_once_or_refused(
    door: Door, call: str, query: dict[str, str], data: str | None, callback: str | None
) -> None:
    before = door.counts().received
    query |= {"writeKey": KEY} | ({} if data is None else {"data": data})
    query |= {} if callback is None else {"callback": callback}
    answer = await door.client.get(_url(f"/v1/{call}", query))
    assert answer.status in (200, 400, 401)  # 401: the data names a key that nobody knows
    assert door.counts().received - before == (answer.status == 200)


@fuzz
@given(key=_words, host=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
async def test_settings_are_json_or_there_are_none(door: Door, key: str, host: str) -> None:
    known = quote(KEY if len(key) % 2 else key, safe="")
    path = URL(f"/v1/projects/{known}/settings", encoded=True)
    answer = await door.client.get(path, headers={"Host": host})
    assert answer.status in (200, 400, 404)
    assert isinstance(await answer.json(content_type=None), dict) or answer.status == 400


@fuzz
@given(body=st.binary(max_size=200) | json_texts)
async def test_arbitrary_bytes_from_the_webhook_are_taken_or_refused(
    hook: Door, body: bytes
) -> None:
    before = hook.counts().received
    answer = await _signed(hook, body, body)
    assert answer.status in (200, 400, 401)
    more = hook.counts().received - before
    assert more > 0 if answer.status == 200 else more == 0


@fuzz
@given(batch=st.lists(messages | values, min_size=1, max_size=5), ascii_only=st.booleans())
async def test_each_message_of_a_signed_array_is_counted_once(
    hook: Door, batch: list[Any], ascii_only: bool
) -> None:
    before = hook.counts().received
    first = {"type": "track", "event": "First", "userId": "u-1"}
    elements = [json.dumps(each, ensure_ascii=ascii_only) for each in (first, *batch)]
    body = f"[ {', '.join(elements)} ]".encode("utf-8", "replace")
    answer = await _signed(hook, body, elements[0].encode("utf-8", "replace"))
    assert answer.status == 200
    assert hook.counts().received - before == len(elements)


async def _signed(hook: Door, body: bytes, message: bytes) -> Any:
    """Segment signs a single message, and of an array its first element."""
    signature = hmac.new(SECRET.encode(), message, hashlib.sha1).hexdigest()
    return await hook.post("/webhooks/segment/hook", body, key=None, X_Signature=signature)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b'{"type":"track","event":"\\ud83d","userId":"u"}', id="lone-surrogate"),
        pytest.param(b'{"a":' * 3_000 + b"1" + b"}" * 3_000, id="nested-too-deeply"),
        pytest.param(b'{"type":"track","event":"\xff","userId":"u"}', id="not-utf-8"),
        pytest.param(b'{"type":"track","timestamp":1e999}', id="number-out-of-range"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
async def test_an_odd_message_of_a_signed_array_costs_no_other(
    hook: Door, odd: bytes, place: int
) -> None:
    elements = [b'{"type":"track","event":"Fine","userId":"u-1"}', b"null"]
    elements.insert(place, odd)
    answer = await _signed(hook, b"[" + b",".join(elements) + b"]", elements[0])
    assert answer.status == 200
    assert hook.counts().received == 3
    assert elements[1 - place] in hook.raws()
