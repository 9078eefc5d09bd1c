"""What stands in for Kochava answers as told, and counts what it answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bench.sink import DOWN, LINK_PATH, OK, REFUSED, TRACK_PATH, Sink


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


def request(number: int, path: str = TRACK_PATH, length: str = "Content-Length") -> bytes:
    body = b'{"data":{"event_data":{"id":"%012d"}}}' % number
    return f"POST {path} HTTP/1.1\r\nHost: k\r\n{length}: {len(body)}\r\n\r\n".encode() + body


async def answers(port: int, *pieces: bytes, number: int) -> list[bytes]:
    """The answers to so many requests, which come in these pieces over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)  # so that they are sent one by one, if the system likes
    for _ in range(number):
        head = await reader.readuntil(b"\r\n\r\n")
        found.append(head + await reader.readexactly(15))
    writer.close()
    return found


async def test_requests_are_answered_and_counted_however_they_are_cut(sink: Sink) -> None:
    port = await sink.listen()
    whole = request(1) + request(2, LINK_PATH) + request(3, length="content-length")
    for cut in (1, 40, len(request(1)) - 1, len(request(1)), len(request(1)) + 10):
        await sink.behave()
        assert await answers(port, whole[:cut], whole[cut:], number=3) == [OK] * 3
        assert await sink.counts() == {"delivered": 3, "tracks": 2, "links": 1, "failed": 0}


async def test_it_refuses_or_fails_as_often_as_it_is_told(sink: Sink) -> None:
    port = await sink.listen()
    await sink.behave(refuse=True)
    assert await answers(port, request(1), number=1) == [REFUSED]
    await sink.behave(fail_every=3)
    whole = b"".join(map(request, range(6)))
    assert await answers(port, whole, number=6) == [OK, OK, DOWN] * 2
    assert (await sink.counts())["failed"] == 2


async def test_it_tells_when_messages_came_and_when_there_were_enough(sink: Sink) -> None:
    port = await sink.listen()
    await sink.behave(arrivals=True)
    waiting = asyncio.create_task(sink.reached(2, "tracks"))
    await answers(port, request(7) + request(9, LINK_PATH), number=2)
    assert not waiting.done()
    await answers(port, request(8), number=1)
    arrived = await sink.arrived()
    assert list(arrived) == ["000000000007", "000000000008"]
    assert await waiting == pytest.approx(arrived["000000000008"], abs=1)
    assert arrived["000000000007"] <= arrived["000000000008"]


async def test_it_can_be_slow(sink: Sink) -> None:
    port = await sink.listen()
    await sink.behave(latency=0.05)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await answers(port, request(1), number=1)
    assert loop.time() - began >= 0.049
