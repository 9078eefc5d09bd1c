"""Everything at once, on the loop that runs in production: whatever is sent ends, and in time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from itertools import chain

import pytest
import uvloop

from proxy.deliver.transport import Transport
from proxy.errors import TransportError
from tests.deliver.conftest import KINDS, make_transport
from tests.deliver.servers import OK, RESET, Server, send, serving
from tests.deliver.test_transport import post

TIMEOUT = 0.2
SENT, AT_ONCE = 600, 30
CLOSE = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
BAD: list[bytes | None] = [
    b"",
    RESET,
    OK[:25],
    OK[:-3],
    None,
    b"SSH-2.0-OpenSSH_9\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n",
    CLOSE,
]
WAYS = {"timeout", "connection_broken", "answer_cut_short"}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happens_every_request_ends(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = uvloop.run(_storm(kind, monkeypatch))
    assert sum(ended.values()) == SENT
    assert ended[200] > SENT / 2
    assert set(ended) == {200, 503, "cancelled", *WAYS}


async def _storm(kind: str, monkeypatch: pytest.MonkeyPatch) -> Counter[int | str]:
    chance = random.Random(1)
    answers = [OK if chance.random() < 0.8 else chance.choice(BAD) for _ in range(SENT)]
    transport = make_transport(kind, monkeypatch, TIMEOUT, AT_ONCE // 2)
    ended: Counter[int | str] = Counter()
    numbers = iter(range(SENT))

    async def send_some(server: Server) -> None:
        for _ in numbers:
            began = time.monotonic()
            body = b"n" * chance.choice((2, 800, 200_000))
            ended[await _ending(transport, server, body, chance)] += 1
            assert time.monotonic() - began < TIMEOUT + 2

    server = Server(*chain(answers, [OK]))
    server.last = [OK[:25], OK[:-3], CLOSE]
    async with serving(server):
        await asyncio.gather(*(send_some(server) for _ in range(AT_ONCE)))
        server.answers = [OK]
        assert (await send(transport, post(server.url))).status == 200
    await transport.close()
    return ended


async def _ending(
    transport: Transport, server: Server, body: bytes, chance: random.Random
) -> int | str:
    sending = asyncio.create_task(send(transport, post(server.url, body)))
    if chance.random() < 0.1:
        asyncio.get_running_loop().call_later(chance.random() * 0.01, sending.cancel)
    with suppress(asyncio.CancelledError):
        try:
            reply = await sending
        except TransportError as error:
            return error.reason
        assert reply.status != 200 or reply.body == b'{"success":"1"}'
        return reply.status
    return "cancelled"
