from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from proxy.deliver.signing import sign
from proxy.sandbox.server import LINK_PATH, TRACK_PATH, Faults, Sandbox
from tests.end_to_end.processes import until
from tests.sandbox.test_rules import INSTALL, LINK, changed
from tests.support import FakeClock, FixedChance

RAW = json.dumps(INSTALL).encode()

Open = Callable[..., Awaitable[ClientSession]]


@pytest.fixture
async def open_sandbox() -> AsyncIterator[Open]:
    """Starts a sandbox; answers a session whose paths are the sandbox's."""
    opened: list[tuple[Sandbox, ClientSession]] = []

    async def start(**options: Any) -> ClientSession:
        sandbox = Sandbox(**options)
        await sandbox.start()
        opened.append((sandbox, ClientSession(sandbox.url)))
        return opened[-1][1]

    yield start
    for sandbox, session in opened:
        await session.close()
        await sandbox.stop()


async def _post(session: ClientSession, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    async with session.post(path, data=body, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(("path", "body"), [(TRACK_PATH, INSTALL), (LINK_PATH, LINK)])
async def test_what_is_right_is_answered_as_kochava_does(
    open_sandbox: Open, path: str, body: dict[str, Any]
) -> None:
    session = await open_sandbox()
    assert await _post(session, path, json.dumps(body).encode()) == (200, {"success": "1"})


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        (TRACK_PATH, json.dumps(changed(INSTALL, "kochava_app_id", "")), "kochava_app_id"),
        (TRACK_PATH, json.dumps(LINK), "action"),
        (TRACK_PATH, "[]", "not a JSON object"),
        (TRACK_PATH, "{", "not a JSON object"),
        (TRACK_PATH, '{"a":' * 10_000 + "1" + "}" * 10_000, "not a JSON object"),
        (LINK_PATH, json.dumps(INSTALL), "device_id"),
    ],
    ids=["no app id", "a link", "array", "torn", "deep", "an install"],
)
async def test_what_is_wrong_is_a_200_without_success(
    open_sandbox: Open, path: str, body: str, problem: str
) -> None:
    session = await open_sandbox()
    status, answer = await _post(session, path, body.encode())
    assert (status, answer["success"]) == (200, "0")
    assert problem in answer["error"]


CALL = {"event": "Install Attributed", "messageId": "m-1", "anonymousId": "d-1"}
KEY = {"Authorization": "Basic d2s6"}


async def test_segments_api_takes_a_track(open_sandbox: Open) -> None:
    session = await open_sandbox()
    call = json.dumps(CALL).encode()
    assert await _post(session, "/v1/track", call, **KEY) == (200, {"success": True})


WHO = {"messageId": "m-1", "anonymousId": "d-1"}
ALIAS = {"messageId": "m-1", "userId": "u-1", "previousId": "a-1"}


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("identify", WHO),
        ("identify", {"messageId": "m-1", "userId": "u-1"}),
        ("page", WHO),
        ("screen", WHO),
        ("group", {**WHO, "groupId": "g-1"}),
        ("alias", ALIAS),
        ("batch", {"batch": [{**CALL, "type": "track"}, {**WHO, "type": "identify"}]}),
        ("import", {"batch": [{**ALIAS, "type": "alias"}]}),
    ],
)
async def test_segments_api_takes_every_call_by_what_it_needs(
    open_sandbox: Open, call: str, body: dict[str, Any]
) -> None:
    session = await open_sandbox()
    raw = json.dumps(body).encode()
    assert await _post(session, f"/v1/{call}", raw, **KEY) == (200, {"success": True})


@pytest.mark.parametrize(
    ("call", "body", "headers"),
    [
        ("track", [], KEY),
        ("track", CALL, {}),
        *(("track", changed(CALL, missing, ""), KEY) for missing in CALL),
        ("identify", {"messageId": "m-1"}, KEY),
        ("group", WHO, KEY),
        ("alias", changed(ALIAS, "previousId", ""), KEY),
        ("alias", {**WHO, "previousId": "a-1"}, KEY),
        ("shout", CALL, KEY),
        ("batch", CALL, KEY),
        ("batch", {"batch": []}, KEY),
        ("batch", {"batch": [5]}, KEY),
        ("batch", {"batch": [CALL]}, KEY),
        ("batch", {"batch": [{**WHO, "type": "track"}]}, KEY),
    ],
)
async def test_segments_api_refuses_what_segment_would_drop(
    open_sandbox: Open, call: str, body: object, headers: dict[str, str]
) -> None:
    session = await open_sandbox()
    answer = await _post(session, f"/v1/{call}", json.dumps(body).encode(), **headers)
    assert answer == (400, {"success": False})


async def test_an_app_with_credentials_must_sign_and_others_need_not(open_sandbox: Open) -> None:
    app_id = INSTALL["kochava_app_id"]
    session = await open_sandbox(credentials={app_id: ("key", "secret")})
    other = json.dumps(changed(INSTALL, "kochava_app_id", "other")).encode()
    answers = [
        await _post(session, TRACK_PATH, RAW, **sign(RAW, "key", "secret")),
        await _post(session, TRACK_PATH, RAW + b" ", **sign(RAW, "key", "secret")),
        await _post(session, TRACK_PATH, RAW),
        await _post(session, TRACK_PATH, other),
    ]
    assert [answer["success"] for _, answer in answers] == ["1", "0", "0", "1"]


async def test_every_request_is_recorded_with_its_answer_one_a_line(
    open_sandbox: Open, tmp_path: Path
) -> None:
    record = tmp_path / "record.jsonl"
    session = await open_sandbox(record=record)
    spread = b'{\n "action": "install",\n "n": 1.50e3, "text": "a\\/b\\n"\n}'
    await _post(session, TRACK_PATH, RAW, **{"X-Mine": "yes"})
    await _post(session, TRACK_PATH, spread)
    await _post(session, LINK_PATH, b"{torn\xff")
    await _post(session, "/v1/track", json.dumps(CALL).encode(), **KEY)
    lines = record.read_bytes().splitlines()
    first, second, third, fourth = map(json.loads, lines)
    assert (first["method"], first["path"], first["body"]) == ("POST", TRACK_PATH, INSTALL)
    assert first["headers"]["X-Mine"] == "yes"
    assert (first["status"], first["answer"]) == (200, {"success": "1"})
    assert b'"n":1.50e3,"text":"a\\/b\\n"' in lines[1]  # as it came but for the space
    assert second["answer"]["success"] == "0"
    assert third["body"] == "{torn\ufffd"
    assert (fourth["path"], fourth["answer"]) == ("/v1/track", {"success": True})


async def test_a_record_is_continued_and_never_cut(open_sandbox: Open, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    record.write_text("{}\n")
    session = await open_sandbox(record=record)
    await _post(session, TRACK_PATH, RAW)
    assert len(record.read_text().splitlines()) == 2


async def test_a_header_that_is_no_utf8_is_answered_and_recorded(
    open_sandbox: Open, tmp_path: Path
) -> None:
    record = tmp_path / "record.jsonl"
    session = await open_sandbox(record=record)
    assert session._base_url is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", session._base_url.port)
    writer.write(
        b"POST /track/json HTTP/1.1\r\nHost: x\r\nX-Mine: \xff\r\nConnection: close\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(record.read_text())["headers"]["X-Mine"] == "?"


@pytest.mark.parametrize(
    ("drawn", "status"), [(0.29, 429), (0.3, 200)], ids=["within the rate", "beyond it"]
)
async def test_a_share_of_the_requests_fails_with_the_status_asked_for(
    open_sandbox: Open, tmp_path: Path, drawn: float, status: int
) -> None:
    record = tmp_path / "record.jsonl"
    faults = Faults(rate=0.3, status=429)
    session = await open_sandbox(faults=faults, chance=FixedChance(drawn), record=record)
    for path, body in ((TRACK_PATH, INSTALL), (LINK_PATH, LINK)):
        assert (await _post(session, path, msgspec.json.encode(body)))[0] == status
    lines = map(json.loads, record.read_text().splitlines())
    assert [line["status"] for line in lines] == [status, status]


async def test_a_rate_of_one_fails_always(open_sandbox: Open) -> None:
    session = await open_sandbox(faults=Faults(rate=1.0))
    assert {(await _post(session, TRACK_PATH, RAW))[0] for _ in range(5)} == {503}


async def test_answers_wait_as_long_as_asked_beside_each_other(
    open_sandbox: Open, clock: FakeClock
) -> None:
    session = await open_sandbox(faults=Faults(latency_seconds=2), clock=clock)
    asked = [asyncio.create_task(_post(session, TRACK_PATH, RAW)) for _ in range(20)]
    await until(lambda: clock.waiting == 20)
    await clock.advance(1.9)
    assert not any(each.done() for each in asked)
    await clock.advance(0.1)
    assert {status for status, _ in await asyncio.gather(*asked)} == {200}


async def test_what_kochava_would_not_take_for_size_is_refused(open_sandbox: Open) -> None:
    session = await open_sandbox()
    async with session.post(TRACK_PATH, data=BytesIO(b" " * (2 * 1024 * 1024 + 1))) as answer:
        assert answer.status == 413


async def test_a_taken_address_cannot_be_listened_on(open_sandbox: Open) -> None:
    session = await open_sandbox()
    assert session._base_url is not None
    second = Sandbox(port=session._base_url.port or 0)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()
