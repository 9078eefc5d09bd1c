"""Kochava's postbacks at the door: every form alike, on the disk before the answer, never told to
wait.
"""

from __future__ import annotations

import gzip
import json
import logging
from typing import Any
from urllib.parse import quote, quote_from_bytes, urlencode

import apsw
import msgspec
import pytest
import structlog
from aiohttp import ClientResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from proxy.event import Facts
from proxy.placing import place_postback
from proxy.postback import postback_id, read_fields, spellings
from proxy.receive.postbacks import MAX_PARAMETERS, read_form, read_parameters
from tests.receive.conftest import KEY, Door, OpenDoor
from tests.receive.strategies import values
from tests.receive.test_webhook import leave_no_room
from tests.support import SOURCE, make_config

TOKEN = "p0stback-t0ken"
PATH = f"/postbacks/kochava/{TOKEN}"
ON = {"postback_token": TOKEN, "segment_write_key": "wk_segment"}
FORM = "application/x-www-form-urlencoded"
INSTALL = {
    "event_name": "_install",
    "kochava_device_id": "KA-77",
    "network": "Käse & Co ☂",
    "campaign": "a+b=c",
    "creative": "{creative}",
    "click_date": "",
}


@pytest.fixture
async def door(open_door: OpenDoor) -> Door:
    return await open_door(make_config(ON))


async def get(door: Door, query: str, path: str = PATH) -> ClientResponse:
    return await door.client.get(URL(f"{path}?{query}", encoded=True))


async def post(door: Door, body: bytes, type_: str = FORM, query: str = "") -> ClientResponse:
    headers = {"Content-Type": type_}
    return await door.client.post(URL(f"{PATH}?{query}", encoded=True), data=body, headers=headers)


def kept(door: Door) -> dict[str, str]:
    """The parameters of the one postback that was kept."""
    (raw,) = door.raws()
    return dict(json.loads(raw))


@pytest.mark.parametrize("form", ["query", "form", "json", "json said to be a form", "gzip"])
async def test_every_form_is_kept_as_the_same_thing(door: Door, form: str) -> None:
    encoded, as_json = urlencode(INSTALL), json.dumps(INSTALL).encode()
    if form == "query":
        answer = await get(door, encoded)
    elif form == "gzip":
        headers = {"Content-Encoding": "gzip"}
        answer = await door.client.post(PATH, data=gzip.compress(as_json), headers=headers)
    else:
        body = encoded.encode() if form == "form" else as_json
        answer = await post(door, body, "application/json" if form == "json" else FORM)
    assert (answer.status, await answer.read()) == (200, b'{"success": true}')
    assert kept(door) == INSTALL
    assert door.types() == [("acme", "postback")]
    assert door.facts() == [Facts()]


async def test_it_is_ordered_by_itself_and_known_by_its_install(door: Door) -> None:
    await get(door, urlencode(INSTALL))
    (leased,) = [
        leased for lane in door.spool.lanes() for leased in door.spool.lease(lane, 9)
    ]  # fmt: skip
    event = leased.event
    fields = read_fields(event.raw, spellings({}))
    assert event.message_id == postback_id("acme", fields)
    place = place_postback("acme", event.message_id)
    assert (event.device, event.person, event.computed) == (place.device, None, False)
    assert not leased.lane.bulk


async def test_what_is_in_the_body_wins_over_the_query(door: Door) -> None:
    body = {"network": "body", "count": 1.50, "yes": True, "none": None, "list": [1, {"a": "b"}]}
    await post(door, json.dumps(body).encode(), query="network=query&idfa=I-1&none=said")
    assert kept(door) == {
        "network": "body",
        "idfa": "I-1",
        "count": "1.5",
        "yes": "true",
        "none": "said",
        "list": '[1, {"a": "b"}]',
    }


async def test_numbers_of_json_are_kept_as_they_were_written(door: Door) -> None:
    await post(door, b' {"a": 1.50, "b": 12345678901234567890123, "c": 1e400, "d": -0} ')
    assert kept(door) == {"a": "1.50", "b": "12345678901234567890123", "c": "1e400", "d": "-0"}


async def test_of_a_parameter_that_comes_twice_the_first_counts(door: Door) -> None:
    await get(door, "idfa=one&idfa=two")
    assert kept(door) == {"idfa": "one"}


async def test_a_spelling_of_the_config_tells_the_device(open_door: OpenDoor) -> None:
    config = make_config(ON, postbacks={"parameters": {"kochava_device_id": "kdid"}})
    door = await open_door(config)
    await get(door, "kdid=KA-77&network=a")
    await get(door, "kdid=KA-77&network=b")
    assert (door.counts().pending, door.counts().duplicate) == (1, 1)


async def test_a_repeat_is_counted_as_a_duplicate(door: Door) -> None:
    await get(door, urlencode(INSTALL))
    await post(door, json.dumps({**INSTALL, "event_time": "1767225600"}).encode())
    assert (await get(door, "kochava_device_id=KA-77&event_name=Purchase")).status == 200
    counts = door.counts()
    assert (counts.received, counts.duplicate, counts.pending) == (3, 1, 2)


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b""),
        ("network=&campaign=%20", b""),
        ("idfa={idfa}&network=%7Bnetwork%7D", b""),
        ("", b"{}"),
        ("", b'{"idfa": null, "network": "{network}"}'),
        ("", b"idfa=&network={network}"),
        ("=&&=", b" \r\n"),
    ],
)
async def test_what_says_nothing_is_refused_with_the_reason(
    door: Door, query: str, body: bytes
) -> None:
    answer = await post(door, body, query=query)
    told = await answer.json()
    assert (answer.status, told["code"]) == (400, "bad_request")
    assert "no parameter says anything" in told["message"]
    assert door.counts().received == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[1, 2]", "neither a form nor a JSON object"),
        (b'[{"idfa": "a=b"}]', "neither a form nor a JSON object"),
        (b"hello", "neither a form nor a JSON object"),
        (b'<postback idfa="I-1"/>', "neither a form nor a JSON object"),
        (b'--x\r\nContent-Disposition: form-data; name="idfa"\r\n\r\nI-1\r\n--x--', "neither"),
        (b"\x00=1", "neither a form nor a JSON object"),
        (b'{"idfa": "I-1"', "not JSON"),
        (b'{"idfa": "I-1"} {}', "not JSON"),
        (b"{idfa=I-1}", "not JSON"),
        (b'{"idfa": "\x00"}', "not JSON"),
        (b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested too deeply"),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "nested too deeply"),
        (b"&".join(b"p%d=1" % n for n in range(3_500)), f"more than {MAX_PARAMETERS} parameters"),
        (json.dumps({f"p{n}": 1 for n in range(2_000)}).encode(), f"more than {MAX_PARAMETERS}"),
    ],
    ids=["array", "array with =", "word", "xml", "multipart", "NUL in a name", "torn", "two",
         "no json", "NUL in json", "deep", "a little deep", "many", "many in json"],
)  # fmt: skip
async def test_a_body_that_is_no_postback_is_refused_with_the_reason(
    door: Door, body: bytes, says: str
) -> None:
    answer = await post(door, body, query="idfa=I-1")
    told = await answer.json()
    assert (answer.status, told["code"]) == (400, "bad_request")
    assert says in told["message"]
    assert door.counts().received == 0


async def test_ten_thousand_parameters_are_refused_in_a_query_too(door: Door) -> None:
    answer = await get(door, "&".join(["a=1"] * 10_000))
    assert answer.status == 400
    assert (await answer.json())["message"] == f"more than {MAX_PARAMETERS} parameters"


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b"idfa=" + b"x" * 32_768),
        ("", b'{"idfa": "' + b"x" * 32_768 + b'"}'),
        ("idfa=" + "x" * 33_000, b""),
        ("idfa=" + "x" * 20_000, b"idfv=" + b"x" * 20_000),
        ("idfa=" + "%00" * 8_000, b""),
    ],
    ids=["form", "json", "query", "together", "NULs"],
)
async def test_it_is_no_larger_than_a_message(door: Door, query: str, body: bytes) -> None:
    answer = await post(door, body, query=query)
    assert (answer.status, (await answer.json())["code"]) == (400, "payload_too_large")
    assert door.counts().received == 0


@pytest.mark.parametrize(
    ("value", "read"),
    [(b"\xff\xfe", "��"), (b"\xed\xa0\x80", "���"), (b"a\x00b", "a\x00b"), (b"\xf0\x9f\x98", "�")],
    ids=["no UTF-8", "half a surrogate", "NUL", "cut emoji"],
)
async def test_odd_bytes_cost_no_postback(door: Door, value: bytes, read: str) -> None:
    """A campaign's name that nobody can read is better than no campaign."""
    escaped = quote_from_bytes(value)
    answers = [
        await get(door, f"adid=1&network={escaped}"),
        await post(door, f"adid=2&network={escaped}".encode()),
    ]
    expected = [read, read]
    if b"\x00" not in value:  # JSON has no such byte, and neither has an URL
        answers += [
            await post(door, b'{"adid": "3", "network": "' + value + b'"}'),
            await post(door, b"adid=4&network=" + value),
        ]
        expected += [read, read]
    assert [answer.status for answer in answers] == [200] * len(expected)
    assert [json.loads(raw)["network"] for raw in door.raws()] == expected


async def test_bytes_in_a_url_that_are_not_escaped_are_no_http(door: Door) -> None:
    answer = await door.exchange(f"GET {PATH}?adid=1&network=\xff\xe4 HTTP/1.1\r\nHost: x")
    assert answer.split()[1] == b"400"
    assert read_form("network=\udcff\udce4") == {
        "network": "��"
    }  # by a parser that lets it through


async def test_half_an_emoji_in_json_is_mended(door: Door) -> None:
    assert (await post(door, b'{"adid": "1", "network": "cut\\ud83d"}')).status == 200
    assert kept(door)["network"] == "cut�"


async def test_a_byte_order_mark_is_not_part_of_it(door: Door) -> None:
    assert (await post(door, b'\xef\xbb\xbf{"adid": "1"}')).status == 200
    assert kept(door) == {"adid": "1"}


@pytest.mark.parametrize("token", ["other", KEY, TOKEN.upper(), TOKEN + "x", "%00", "%ff", "", " "])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_wrong_token_is_not_found_and_in_no_log(
    door: Door,
    method: str,
    token: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    url = URL(f"/postbacks/kochava/{quote(token, safe='%')}?{urlencode(INSTALL)}", encoded=True)
    with structlog.testing.capture_logs() as logs:
        answer = await door.client.request(method, url)
    assert answer.status == 404
    assert await answer.json() == {
        "success": False,
        "code": "not_found",
        "message": "there is no such postback",
    }
    out, err = capfd.readouterr()
    server_logs = [record for record in caplog.records if record.name.startswith("aiohttp")]
    assert not token.strip() or token not in f"{logs}{server_logs}{out}{err}"
    assert door.counts().received == 0


@pytest.mark.parametrize("source", [{}, {"webhook_token": TOKEN}, {"segment_write_key": "wk"}])
async def test_without_a_token_of_its_own_a_source_takes_none(
    open_door: OpenDoor, source: dict[str, Any]
) -> None:
    door = await open_door(make_config(source))
    for token in (TOKEN, "", "%20"):
        answer = await get(door, "idfa=I-1", f"/postbacks/kochava/{token}")
        assert answer.status == 404


async def test_each_token_writes_to_its_own_source(open_door: OpenDoor) -> None:
    other = {**SOURCE, **ON, "name": "beta", "write_key": "wk_beta", "postback_token": "t-beta"}
    door = await open_door(make_config(sources=[{**SOURCE, **ON}, other]))
    await get(door, "idfa=I-1", "/postbacks/kochava/t-beta")
    await get(door, "idfa=I-1")
    assert door.types() == [("beta", "postback"), ("acme", "postback")]


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE"])
async def test_other_methods_bring_nothing(door: Door, method: str) -> None:
    answer = await door.client.request(method, f"{PATH}?idfa=I-1")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,POST")
    assert door.counts().received == 0


async def test_it_is_taken_above_the_high_water_mark(open_door: OpenDoor) -> None:
    door = await open_door(make_config(ON, spool={"high_water_megabytes": 0.000_001}))
    assert (await door.post("/v1/track", {"userId": "u", "event": "E"})).status == 429
    assert (await get(door, "idfa=I-1")).status == 200
    assert (await post(door, b"idfa=I-2")).status == 200
    assert door.counts().pending == 2


async def test_it_is_taken_however_fast_its_source_sends(open_door: OpenDoor) -> None:
    door = await open_door(make_config({**ON, "rate_limit": 1}))
    message = {"userId": "u", "event": "E"}
    assert [(await door.post("/v1/track", message)).status for _ in range(2)] == [200, 429]
    assert [(await get(door, f"idfa={n}")).status for n in range(5)] == [200] * 5
    assert (await door.post("/v1/track", message)).status == 429


async def test_a_full_disk_asks_kochava_to_come_again(door: Door) -> None:
    await door.database.write(leave_no_room)
    answers = [await get(door, f"adid={n}&network={'x' * 9_000}") for n in range(9)]
    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refused} == {503}
    assert {(await answer.json())["code"] for answer in refused} == {"storage_unavailable"}
    assert door.counts().received == len(answers) - len(refused)


async def test_it_is_on_the_disk_before_the_answer(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    keep = door.door.keep_always

    async def look(*given: Any) -> None:
        await keep(*given)
        counts.append(door.counts().pending)

    async def fail(*_: object) -> None:
        raise apsw.FullError

    monkeypatch.setattr(door.door, "keep_always", look)
    assert (await get(door, "idfa=I-1")).status == 200
    assert counts == [1]
    monkeypatch.setattr(door.door, "keep_always", fail)
    assert (await get(door, "idfa=I-2")).status == 503


async def test_a_fault_of_ours_is_503_and_logged_without_token_and_ids(
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(door.door, "keep_always", fail)
    with structlog.testing.capture_logs() as logs:
        answers = [await get(door, urlencode(INSTALL)), await post(door, b"idfa=KA-77")]
    assert [answer.status for answer in answers] == [503, 503]
    assert int(answers[0].headers["Retry-After"]) > 0
    assert [(log["event"], log["route"]) for log in logs] == [
        ("handler_failed", "/postbacks/kochava/{postback_token}")
    ] * 2
    out, err = capfd.readouterr()
    server_logs = [record for record in caplog.records if record.name.startswith("aiohttp")]
    for secret in (TOKEN, "KA-77"):
        assert secret not in f"{logs}{server_logs}{out}{err}"


async def test_what_is_taken_is_not_logged(
    door: Door, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        assert (await get(door, urlencode(INSTALL))).status == 200
        assert (await get(door, "idfa={idfa}&other=KA-77%00&network=")).status == 200
        assert (await post(door, b"{")).status == 400
    out, err = capfd.readouterr()
    server_logs = [record for record in caplog.records if record.name.startswith("aiohttp")]
    for secret in (TOKEN, "KA-77"):
        assert secret not in f"{logs}{server_logs}{out}{err}"


#: A run that fails is to be about what was changed, not about a busy machine.
steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
fuzz = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_plain = st.from_regex(r"[a-z][\w.\-\[\]]{0,12}", fullmatch=True)


@steady
@given(given=st.dictionaries(_text, _text, max_size=6))
def test_whatever_is_given_is_read_alike_in_every_form(given: dict[str, str]) -> None:
    assert read_form(urlencode(given)) == given
    assert read_parameters(json.dumps(given).encode()) == given
    escaped = json.dumps(given, ensure_ascii=False).encode()
    assert read_parameters(escaped) == given
    names = spellings({})
    fields = read_fields(msgspec.json.encode(given), names)
    said = {name: value.strip() for name, value in given.items()}
    others = {name: value for name, value in said.items() if name not in names and value}
    assert {name: fields.get(name) for name in others if "{" not in others[name]} == {
        name: value for name, value in others.items() if "{" not in value
    }


@steady
@given(given=st.dictionaries(_plain, _text, max_size=6))
def test_a_form_is_read_as_a_query_is(given: dict[str, str]) -> None:
    assert read_parameters(urlencode(given).encode()) == given


@fuzz
@given(body=st.binary(max_size=80) | values.map(lambda value: json.dumps(value).encode()))
async def test_no_body_is_a_fault(door: Door, body: bytes) -> None:
    before = door.counts().received
    answer = await post(door, body)
    assert answer.status in (200, 400)
    assert door.counts().received == before + (answer.status == 200)
