"""What is too large, too slow or ambiguous: refused with a 4xx, or a 503 where a client that means
well should try again, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from proxy.receive.body import read_body
from tests.receive.conftest import Door, track
from tests.receive.sockets import LIVE, request, rest_of, serving, status_of, statuses

MESSAGE = json.dumps(track("m-1", writeKey="wk_acme")).encode()
SECOND = request(json.dumps(track("m-2", writeKey="wk_acme")).encode())
CLOSE = "Connection: close"
CHUNKED = "Transfer-Encoding: chunked"


def chunk(body: bytes, size: str | None = None) -> bytes:
    return (size or f"{len(body):x}").encode() + b"\r\n" + body + b"\r\n"


LAST = b"0\r\n\r\n"


def chunked(body: bytes, *headers: str) -> bytes:
    return request(b"", *headers, length=False) + body


class TestHeaders:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            pytest.param(["X-Pad: " + "x" * 8_190], 200, id="longest value"),
            pytest.param(["X-Pad: " + "x" * 8_191], 400, id="value too long"),
            pytest.param([f"X-{n}: x" for n in range(125)], 200, id="128 headers"),
            pytest.param([f"X-{n}: x" for n in range(126)], 400, id="129 headers"),
        ],
    )
    async def test_headers_are_limited(
        self, tmp_path: Path, headers: list[str], status: int
    ) -> None:
        async with serving(tmp_path) as served:
            answers = await served.exchange(request(MESSAGE, CLOSE, *headers))
            assert statuses(answers) == [status]
            assert served.counts().received == (status == 200)

    async def test_a_path_is_limited(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            path = "/v1/track?pad=" + "x" * 70_000  # the largest message has room in less
            assert statuses(await served.exchange(request(MESSAGE, CLOSE, path=path))) == [400]


class TestMessages:
    @pytest.mark.parametrize(("length", "kept"), [(99, True), (100, False), (101, False)])
    async def test_a_message_id_stays_below_100_characters(
        self, door: Door, length: int, kept: bool
    ) -> None:
        """Source: Segment's docs, "Spec: Common Fields"."""
        answer = await door.post("/v1/track", track("é" * length))
        assert answer.status == 200
        counts = door.counts()
        assert (counts.pending, counts.rejected) == (
            (1, {}) if kept else (0, {"message_id_too_long": 1})
        )

    async def test_what_a_batch_has_beyond_2500_messages_is_refused_and_the_rest_kept(
        self, door: Door
    ) -> None:
        """Segment answers 200 all the same. Source: its docs, "HTTP API", on batches."""
        batch = [track(f"m-{n}") for n in range(2_503)]
        assert (await door.post("/v1/batch", {"batch": batch})).status == 200
        counts = door.counts()
        assert (counts.received, counts.pending) == (2_503, 2_500)
        assert counts.rejected == {"too_many_messages": 3}


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "chunked", "\\"])
    async def test_only_gzip_is_understood(self, door: Door, encoding: str) -> None:
        answer = await door.post("/v1/track", MESSAGE, Content_Encoding=encoding)
        assert (answer.status, (await answer.json())["code"]) == (400, "unsupported_encoding")
        assert door.counts().received == 0

    @pytest.mark.parametrize("size", [1, 7, 1_000_000], ids=lambda size: f"{size} bytes at a time")
    async def test_a_body_of_several_gzip_streams_is_read_as_one(self, size: int) -> None:
        """Source: RFC 1952, section 2.2."""
        body = b"".join(gzip.compress(part) for part in (MESSAGE[:9], b"", MESSAGE[9:]))
        pieces = [body[at : at + size] for at in range(0, len(body), size)]

        async def iter_any() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        content = SimpleNamespace(iter_any=iter_any)
        sent = SimpleNamespace(headers={"Content-Encoding": "gzip"}, content=content)
        assert await read_body(cast("web.Request", sent), len(MESSAGE)) == MESSAGE

    @pytest.mark.parametrize(
        ("behind", "code"),
        [
            pytest.param(gzip.compress(b" " * 600_000), "payload_too_large", id="too large"),
            pytest.param(gzip.compress(b" ")[:-1], "bad_request", id="second cut"),
            pytest.param(gzip.compress(b"") * 1_500, "payload_too_large", id="endless empty ones"),
            pytest.param(b"\0" * 70_000, "payload_too_large", id="endless bytes"),
        ],
    )
    async def test_several_streams_have_the_limits_of_one(
        self, door: Door, behind: bytes, code: str
    ) -> None:
        body = gzip.compress(MESSAGE) + behind
        answer = await door.post("/v1/track", body, Content_Encoding="gzip")
        assert (answer.status, (await answer.json())["code"]) == (400, code)
        assert door.counts().received == 0

    async def test_a_stream_that_brings_nothing_ends(self, tmp_path: Path) -> None:
        """Empty blocks inflate to nothing, so that no limit of what is inflated ever counts."""
        deflating = zlib.compressobj(wbits=31)
        nothing = deflating.flush(zlib.Z_FULL_FLUSH)
        empty = deflating.flush(zlib.Z_FULL_FLUSH) or b"\0\0\0\xff\xff"
        body = nothing + empty * 50_000
        async with serving(tmp_path) as served:
            answers = await served.exchange(request(body, CLOSE, "Content-Encoding: gzip"))
            assert statuses(answers) == [400]
            assert b"payload_too_large" in answers

    async def test_a_bomb_of_a_gigabyte_is_stopped_in_little_memory(self, tmp_path: Path) -> None:
        head = request(b"", CHUNKED, CLOSE, "Content-Encoding: gzip", length=False)
        pieces = list(bomb(100))
        async with serving(tmp_path) as served:
            _, writer = streams = await served.connect()
            tracemalloc.start()
            try:
                writer.write(head + b"".join(map(chunk, pieces)))
                answer = await streams[0].readuntil(b"}")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert statuses(answer) == [400]
            assert b"payload_too_large" in answer
            assert peak < 8_000_000


def bomb(times: int) -> Iterator[bytes]:
    """Ten megabytes of spaces in a few kilobytes, again and again."""
    deflating = zlib.compressobj(wbits=31)
    block = b" " * 10_000_000
    yield deflating.compress(block) + deflating.flush(zlib.Z_FULL_FLUSH)
    again = deflating.compress(block) + deflating.flush(zlib.Z_FULL_FLUSH)
    for _ in range(times - 1):
        yield again


AMBIGUOUS = {
    "length and chunked": request(MESSAGE, CHUNKED),
    "chunked and length": chunked(chunk(MESSAGE) + LAST, CHUNKED, "Content-Length: 4"),
    "two lengths": request(MESSAGE, f"Content-Length: {len(MESSAGE) + len(SECOND)}"),
    "the same length twice": request(MESSAGE, f"Content-Length: {len(MESSAGE)}"),
    "list of lengths": chunked(MESSAGE, f"Content-Length: {len(MESSAGE)}, {len(MESSAGE)}"),
    "length with a sign": chunked(MESSAGE, f"Content-Length: +{len(MESSAGE)}"),
    "negative length": chunked(MESSAGE, "Content-Length: -1"),
    "length beyond all numbers": chunked(MESSAGE, "Content-Length: " + "9" * 30),
    "space before the colon": chunked(MESSAGE, f"Content-Length : {len(MESSAGE)}"),
    "folded header": request(MESSAGE, "X-Folded: a\r\n b"),
    "folded transfer encoding": request(MESSAGE, "Transfer-Encoding:\r\n chunked"),
    "CR in a header": request(MESSAGE, "X-Cut: a\rb"),
    "NUL in a header": request(MESSAGE, "X-Cut: a\0b"),
    "lines without CR": request(MESSAGE).replace(b"\r\n", b"\n"),
    "unknown coding": chunked(chunk(MESSAGE) + LAST, "Transfer-Encoding: xchunked"),
    "coding behind chunked": chunked(chunk(MESSAGE) + LAST, "Transfer-Encoding: chunked, identity"),
    "chunked twice": chunked(chunk(MESSAGE) + LAST, CHUNKED, "Transfer-Encoding: identity"),
    "chunked by HTTP/1.0": chunked(chunk(MESSAGE) + LAST, CHUNKED).replace(b"1.1", b"1.0", 1),
    "chunk size no number": chunked(chunk(MESSAGE, "zz") + LAST, CHUNKED),
    "chunk size with 0x": chunked(chunk(MESSAGE, f"0x{len(MESSAGE):x}") + LAST, CHUNKED),
    "chunk size negative": chunked(chunk(MESSAGE, "-1") + LAST, CHUNKED),
    "chunk size beyond all numbers": chunked(chunk(MESSAGE, "f" * 20) + LAST, CHUNKED),
    "chunk longer than said": chunked(chunk(MESSAGE, f"{len(MESSAGE) - 3:x}") + LAST, CHUNKED),
    "line feed in an extension": chunked(chunk(MESSAGE, "5e;a\nb") + LAST, CHUNKED),
    "bad chunk behind a good one": chunked(chunk(MESSAGE) + b"zz\r\n" + LAST, CHUNKED),
}


class TestAmbiguity:
    @pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
    async def test_a_request_with_two_readings_is_refused_with_all_that_follows_it(
        self, tmp_path: Path, sent: bytes
    ) -> None:
        """A proxy in front may have taken the other reading, and for it the rest was a body."""
        async with serving(tmp_path) as served:
            assert statuses(await served.exchange(sent + SECOND)) == [400]
            assert served.counts().received == 0

    async def test_a_bad_chunk_that_comes_later_ends_the_request(self, tmp_path: Path) -> None:
        async with serving(tmp_path, body_seconds=0.2) as served:
            streams = await served.connect()
            streams[1].write(chunked(chunk(MESSAGE), CHUNKED))
            assert await status_of(await served.connect()) == 200  # by now it was read
            assert await status_of(streams, b"zz\r\n" + LAST + SECOND) in (400, 503)
            assert served.counts().received == 0


class TestSlowSenders:
    @pytest.mark.parametrize(
        "sent", [b"", LIVE[:20], LIVE + LIVE[:20]], ids=["none", "some", "2nd"]
    )
    async def test_headers_that_never_end_are_cut_off(self, tmp_path: Path, sent: bytes) -> None:
        async with serving(tmp_path, idle_seconds=0.2) as served:
            answers = await served.exchange(sent)
            assert statuses(answers) == [200] * sent.count(b"\r\n\r\n")

    async def test_headers_are_cut_off_though_more_of_them_keep_coming(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path, idle_seconds=0.2) as served:
            _, writer = streams = await served.connect()
            writer.write(LIVE[:-2])
            dribbling = asyncio.create_task(dribble(writer, b"X: x\r\n"))
            assert statuses(await rest_of(streams)) == []
            dribbling.cancel()

    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    async def test_a_body_that_dribbles_is_answered_with_503_while_others_are_served(
        self, tmp_path: Path, encoding: str
    ) -> None:
        async with serving(tmp_path, body_seconds=0.2) as served:
            slow = await served.connect()
            head = request(b"", f"Content-Encoding: {encoding}", "Content-Length: 9999",
                           length=False)  # fmt: skip
            slow[1].write(head + gzip.compress(MESSAGE)[:12])
            dribbling = asyncio.create_task(dribble(slow[1], b"\0"))
            answering = asyncio.create_task(slow[0].readuntil(b"}"))
            other = await served.connect()
            assert await status_of(other, request(MESSAGE)) == 200
            while not answering.done():
                assert await status_of(other, request(MESSAGE)) == 200
            answer = answering.result()
            dribbling.cancel()
            assert statuses(answer) == [503]
            assert b'"body_too_slow"' in answer
            assert b"Retry-After: " in answer

    async def test_a_body_that_stops_is_answered_with_503(self, tmp_path: Path) -> None:
        async with serving(tmp_path, body_seconds=0.1) as served:
            assert await status_of(await served.connect(), request(MESSAGE)[:-1]) == 503


async def dribble(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """One piece after another until the other side has had enough."""
    while not writer.is_closing():
        writer.write(piece)
        await asyncio.sleep(0.01)
