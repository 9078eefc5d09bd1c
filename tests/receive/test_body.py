from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from proxy.errors import RequestRefused
from proxy.receive.body import read_body
from tests.receive.conftest import KEY, Door, basic, track

MAX_MESSAGE = 32 * 1024
MAX_BATCH = 512_000


def _padded(body: dict[str, object], size: int) -> bytes:
    text = json.dumps({**body, "pad": ""}).encode()
    return text[:-2] + b"x" * (size - len(text)) + text[-2:]


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("path", "body", "limit"),
    [("/v1/track", track(), MAX_MESSAGE), ("/v1/batch", {"batch": [track()]}, MAX_BATCH)],
)
async def test_the_limit_is_of_the_inflated_body_and_itself_allowed(
    door: Door, path: str, body: dict[str, object], limit: int, zipped: bool
) -> None:
    headers = {"Content-Encoding": "gzip"} if zipped else {}
    for size, status in ((limit + 1, 400), (limit, 200)):
        padded = _padded(body, size)
        assert len(padded) == size
        answer = await door.post(path, gzip.compress(padded) if zipped else padded, **headers)
        assert answer.status == status
        if status == 400:
            assert (await answer.json())["code"] == "payload_too_large"
            assert door.counts().received == 0
    assert door.counts().pending == 1


@pytest.mark.parametrize("parts", [[], [b"{}"], [b"x" * 9, b"y"], [b"x"] * 10, [b"x"] * 11])
@pytest.mark.parametrize("whole", [True, False], ids=["all here", "its end to come"])
async def test_a_body_is_the_same_however_much_of_it_is_here_already(
    parts: list[bytes], whole: bool
) -> None:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    stream = StreamReader(protocol, limit=100, loop=loop)
    for part in parts:
        stream.feed_data(part)
    reading = read_body(make_mocked_request("POST", "/", payload=stream), limit=10)
    if whole:
        stream.feed_eof()
    else:
        loop.call_soon(stream.feed_eof)
    if len(parts) > 10:
        with pytest.raises(RequestRefused, match="more than 10 bytes"):
            await reading
    else:
        assert await reading == b"".join(parts)


async def test_a_gzip_bomb_is_stopped_at_the_limit(door: Door) -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    assert len(bomb) < MAX_BATCH
    tracemalloc.start()
    try:
        answer = await door.post("/v1/batch", bomb, Content_Encoding="gzip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, (await answer.json())["code"]) == (400, "payload_too_large")
    assert peak < 10_000_000


WHOLE = gzip.compress(json.dumps({"batch": [track()]}).encode())


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        pytest.param(WHOLE[:-1], "gzip", id="checksum cut"),
        pytest.param(WHOLE[:20], "gzip", id="data cut"),
        pytest.param(b"", "gzip", id="empty"),
        pytest.param(WHOLE[:-8] + b"\0" * 8, "gzip", id="wrong checksum"),
        pytest.param(json.dumps({"batch": [track()]}).encode(), "gzip", id="not gzip"),
        pytest.param(zlib.compress(b'{"batch":[]}'), "deflate", id="deflate"),
        pytest.param(b'{"batch":[]}', "br", id="brotli"),
    ],
)
async def test_a_body_that_cannot_be_inflated_is_refused(
    door: Door, body: bytes, encoding: str
) -> None:
    answer = await door.post("/v1/batch", body, Content_Encoding=encoding)
    assert (answer.status, (await answer.json())["success"]) == (400, False)
    assert door.counts().received == 0


async def test_bytes_behind_the_gzip_stream_do_no_harm(door: Door) -> None:
    answer = await door.post("/v1/batch", WHOLE + b"\0garbage", Content_Encoding="gzip")
    assert answer.status == 200
    assert door.counts().pending == 1


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing_behind(door: Door) -> None:
    body = json.dumps({"batch": [track()]}).encode()
    head = (
        "POST /v1/batch HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n"
        f"Authorization: {basic(KEY)}\r\nContent-Length: {len(body) + 1}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(door.client.host, door.client.port)
    writer.write(head.encode() + body)
    writer.write_eof()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    assert (await door.client.get("/health/live")).status == 200
    assert door.counts().received == 0
