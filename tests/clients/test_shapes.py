"""SDKs that cannot run here: what they send, replayed over a socket, and how they judge answers."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import SplitResult, urlsplit

import pytest

from tests.clients.conftest import KEY, Stage
from tests.clients.shapes import MOBILE, SERVERS, Shape


def _ask(
    stage: Stage, method: str, path: str, body: Any, headers: dict[str, str]
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", stage.proxy.port, timeout=10)
    try:
        chunked = body is not None and not isinstance(body, bytes)
        headers = headers | ({"Transfer-Encoding": "chunked"} if chunked else {})
        connection.request(method, path, body, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def ask(
    stage: Stage, method: str, path: str, body: Any, headers: dict[str, str]
) -> tuple[int, bytes]:
    """Status and body of the answer."""
    return await asyncio.to_thread(_ask, stage, method, path, body, headers)


async def base_path(stage: Stage, shape: Shape) -> str:
    """What an SDK puts its own path behind: the `apiHost` of the settings, if it loads them."""
    if shape.settings is None:
        return ""
    path = f"/v1/projects/{KEY}/settings"
    status, body = await ask(stage, "GET", path, None, shape.settings)
    assert status == 200  # Kotlin and Android want no other
    host: SplitResult = urlsplit("//" + json.loads(body)["integrations"]["Segment.io"]["apiHost"])
    assert host.netloc == f"127.0.0.1:{stage.proxy.port}"
    return host.path


@pytest.mark.parametrize("shape", [pytest.param(each, id=each.sdk) for each in MOBILE + SERVERS])
async def test_an_sdk_takes_the_answer_for_success_and_nothing_it_sent_is_missing(
    shape: Shape, stage: Stage
) -> None:
    path = await base_path(stage, shape) + shape.path
    headers = shape.headers | ({"Content-Encoding": "gzip"} if shape.zipped else {})
    status, body = await ask(stage, "POST", path, shape.content(), headers)
    assert shape.accepts(status, body)
    assert await stage.ledger() == {
        "received": 2,
        "rejected": {},
        "duplicate": 0,
        "filtered": {},
        "pending": 0,
        "delivered": 2,
        "dead": 0,
    }
    bodies = [each.body for each in stage.kochava.requests]
    assert [each["kochava_device_id"] for each in bodies] == [shape.device] * 2
    assert [each["data"]["event_name"] for each in bodies] == ["Application Opened", "View"]
    assert "idfa" not in bodies[0]["data"]["device_ids"]
