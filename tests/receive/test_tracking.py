from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import apsw
import pytest

from tests.receive.conftest import KEY, Door, basic, track

MESSAGES: dict[str, dict[str, Any]] = {
    "track": {"event": "Tested", "userId": "u"},
    "identify": {"userId": "u"},
    "page": {"anonymousId": "a"},
    "screen": {"anonymousId": "a", "name": "Home"},
    "group": {"userId": "u", "groupId": "g"},
    "alias": {"userId": "u", "previousId": "a"},
}


@pytest.mark.parametrize("call", MESSAGES)
async def test_each_call_has_its_path_which_names_the_type(door: Door, call: str) -> None:
    answer = await door.post(f"/v1/{call}", MESSAGES[call])
    assert answer.status == 200
    assert door.counts().pending == 1
    assert [json.loads(raw) for raw in door.raws()] == [MESSAGES[call]]


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import"])
async def test_a_batch_is_taken_on_both_its_paths(door: Door, path: str) -> None:
    batch = [{"type": call, **message} for call, message in MESSAGES.items()]
    answer = await door.post(path, {"batch": batch})
    assert answer.status == 200
    assert [json.loads(raw) for raw in door.raws()] == batch


async def test_success_is_exactly_what_the_oldest_sdks_expect(door: Door) -> None:
    """analytics-python 1.4 takes only 200 for success; the Java SDK reads the body."""
    answer = await door.post("/v1/track", track())
    assert (answer.status, await answer.read()) == (200, b'{"success": true}')
    assert answer.headers["Content-Type"].startswith("application/json")


BEARER = "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"


@pytest.mark.parametrize(
    ("authorization", "body"),
    [
        pytest.param(basic(f"{KEY}:"), {"batch": [track()]}, id="basic with colon"),
        pytest.param(basic(KEY), {"batch": [track()]}, id="basic without colon"),
        pytest.param(basic(f"{KEY}:secret"), {"batch": [track()]}, id="basic with password"),
        pytest.param(basic(KEY).replace("Basic", "basic"), {"batch": [track()]}, id="lower case"),
        pytest.param(None, {"batch": [track()], "writeKey": KEY}, id="writeKey of the batch"),
        pytest.param(None, {"batch": [track(writeKey=KEY)]}, id="writeKey of its first message"),
        pytest.param(BEARER, {"batch": [track()], "writeKey": KEY}, id="bearer and writeKey"),
        pytest.param(basic(":"), {"batch": [track()], "writeKey": KEY}, id="empty basic, writeKey"),
    ],
)
async def test_the_write_key_is_found_where_an_sdk_puts_it(
    door: Door, authorization: str | None, body: dict[str, Any]
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await door.post("/v1/batch", body, key=None, **headers)
    assert answer.status == 200
    assert door.counts().pending == 1


async def test_a_single_message_may_carry_the_key_itself(door: Door) -> None:
    assert (await door.post("/v1/track", track(writeKey=KEY), key=None)).status == 200
    assert door.counts().pending == 1


@pytest.mark.parametrize(
    ("authorization", "write_key"),
    [
        pytest.param(None, None, id="none at all"),
        pytest.param(basic("wk_other:"), None, id="unknown, basic"),
        pytest.param(None, "wk_other", id="unknown, body"),
        pytest.param(basic("wk_other:"), KEY, id="unknown in the header, known in the body"),
        pytest.param(BEARER, None, id="bearer alone"),
        pytest.param("Basic %%%", None, id="not base64"),
        pytest.param(basic(f"{KEY}:") + "!", None, id="something behind the base64"),
        pytest.param("Basic " + base64.b64encode(b"\xff\xfe").decode(), None, id="not text"),
        pytest.param(None, 7, id="a number"),
        pytest.param(None, KEY.upper(), id="other case"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
async def test_without_a_known_key_nothing_is_taken(
    door: Door, path: str, authorization: str | None, write_key: Any
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    body = track(writeKey=write_key, batch=[track(writeKey=write_key)])
    answer = await door.post(path, body, key=None, **headers)
    assert answer.status == 401
    assert {**await answer.json(), "message": ""} == {
        "success": False, "code": "unknown_source", "message": "",
    }  # fmt: skip
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert door.counts().received == 0


BODY = json.dumps({"batch": [track()], "writeKey": KEY}).encode()


async def _in_parts(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 7):
        yield body[at : at + 7]


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({"Content-Type": "application/json"}, BODY, id="json"),
        pytest.param({"Content-Type": "text/plain;charset=utf-8"}, BODY, id="beacon"),
        pytest.param({"Content-Type": "application/x-www-form-urlencoded"}, BODY, id="form"),
        pytest.param({}, BODY, id="no content type"),
        pytest.param({}, b"\xef\xbb\xbf" + BODY, id="byte order mark"),
        pytest.param({"Content-Encoding": "identity"}, BODY, id="identity"),
        pytest.param({"Content-Encoding": "gzip"}, gzip.compress(BODY), id="gzip"),
        pytest.param({"Content-Encoding": "X-GZIP"}, gzip.compress(BODY), id="x-gzip"),
    ],
)
async def test_the_body_is_json_however_it_is_sent(
    door: Door, headers: dict[str, str], body: bytes, chunked: bool
) -> None:
    """The Kotlin SDK sends text/plain, gzip and chunked at once."""
    answer = await door.client.post(
        "/v1/batch",
        data=_in_parts(body) if chunked else body,
        headers=headers,
        skip_auto_headers=["Content-Type"],
    )
    assert answer.status == 200
    assert [json.loads(raw) for raw in door.raws()] == [track()]


async def test_no_answer_comes_before_the_commit(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, asked, committer = threading.Event(), threading.Event(), door.database._committer
    transaction = committer._transaction

    def wait_and_commit(*args: Any) -> list[Any]:
        asked.set()
        assert let_go.wait(10)
        return transaction(*args)

    monkeypatch.setattr(committer, "_transaction", wait_and_commit)
    posting = asyncio.create_task(door.post("/v1/track", track()))
    try:
        assert await asyncio.to_thread(asked.wait, 5)
        # A whole round trip beside it: had the answer been sent, it would be here by now.
        assert (await door.client.get("/health/live")).status == 200
        assert not posting.done()
        assert door.raws() == []
    finally:
        let_go.set()
    assert (await posting).status == 200
    assert len(door.raws()) == door.counts().pending == 1


async def test_a_message_sent_again_is_counted_and_answered_as_success(door: Door) -> None:
    for _ in range(2):
        answer = await door.post("/v1/batch", {"batch": [track("m-1"), track("m-1")]})
        assert (answer.status, await answer.read()) == (200, b'{"success": true}')
    counts = door.counts()
    assert (counts.received, counts.duplicate, counts.pending) == (4, 3, 1)


async def test_two_messages_without_an_id_are_two(door: Door) -> None:
    await door.post("/v1/batch", {"batch": [track(None), track("")]})
    assert door.counts().pending == 2


async def test_a_full_disk_takes_nothing_and_asks_to_come_again(door: Door) -> None:
    def leave_no_room(cursor: apsw.Cursor) -> None:
        (pages,) = next(cursor.execute("PRAGMA page_count"))
        cursor.execute(f"PRAGMA max_page_count = {pages}")

    await door.database.write(leave_no_room)
    batch = {"batch": [track(f"m-{n}", pad="x" * 9_000) for n in range(9)]}
    answer = await door.post("/v1/batch", batch)
    assert (answer.status, (await answer.json())["success"]) == (503, False)
    assert int(answer.headers["Retry-After"]) > 0
    assert (door.raws(), door.counts().received) == ([], 0)

    await door.database.write(lambda cursor: cursor.execute("PRAGMA max_page_count = 100000"))
    assert (await door.post("/v1/batch", batch)).status == 200
    assert (door.counts().pending, door.counts().duplicate) == (9, 0)


async def test_after_an_io_error_nothing_is_acknowledged_any_more(door: Door) -> None:
    def fail(_: apsw.Cursor) -> None:
        raise apsw.IOError("disk I/O error")

    with pytest.raises(Exception, match="disk I/O error"):
        await door.database.write(fail)
    answer = await door.post("/v1/track", track())
    assert (answer.status, (await answer.json())["success"]) == (503, False)
    assert int(answer.headers["Retry-After"]) > 0
    assert door.raws() == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/batch", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
    ],
)
async def test_what_is_not_served_is_refused_in_json(
    door: Door, method: str, path: str, status: int, code: str
) -> None:
    answer = await door.client.request(method, path)
    assert answer.status == status
    body = await answer.json()
    assert (body["success"], body["code"]) == (False, code)
