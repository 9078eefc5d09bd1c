"""What is no HTTP, or HTTP that nobody speaks."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from tests.hostile import wire
from tests.hostile.messages import good
from tests.hostile.sender import Answer, read_answer
from tests.receive.conftest import KEY, Door

GOOD = wire.request("/v1/track", good("m-1"), key=KEY)


async def _answer(door: Door, data: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.client.port)
    try:
        async with asyncio.timeout(5):
            writer.write(data)
            return await read_answer(reader)
    finally:
        writer.close()


@pytest.mark.parametrize("expected", [b"200-ok", b"\xff", b"100-continue, 200-ok"])
async def test_an_unknown_expectation_is_refused_in_json(door: Door, expected: bytes) -> None:
    answer = await _answer(door, wire.with_head(GOOD, b"Expect: " + expected))
    assert answer.status == 417
    assert b'"code":"expectation_failed"' in answer.body
    assert door.counts().received == 0


@pytest.mark.parametrize("expected", [b"100-continue", b"100-Continue", b""])
async def test_a_client_that_waits_for_100_is_served(door: Door, expected: bytes) -> None:
    answer = await _answer(door, wire.with_head(GOOD, b"Expect: " + expected))
    assert answer.status == 200
    assert door.counts().received == 1


async def test_bad_http_is_logged_now_and_then_and_without_what_it_said(
    door: Door, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A test before this one may have bound the logger to a stream that is gone.
    fresh = structlog.wrap_logger(structlog.PrintLogger())
    monkeypatch.setattr("proxy.receive.protocol._log", fresh)
    for _ in range(20):
        answer = await _answer(door, b"POST /v1/track HTTP/1.1\r\nsecret: \x00\r\n\r\n")
        assert answer.status == 400
    said = "".join(capfd.readouterr())
    assert said.count("bad_http") == 1
    assert "secret" not in said
    assert "Traceback" not in said


async def test_a_client_that_goes_away_in_its_body_is_not_logged_as_a_failure(
    door: Door, capfd: pytest.CaptureFixture[str]
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", door.client.port)
    writer.write(GOOD[:-5])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await _answer(door, GOOD)).status == 200
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert "failed" not in said
