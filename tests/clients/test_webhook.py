"""Segment's own code of its Webhook destination, which signs what it sends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import CALLS, SECRET, TOKEN, Stage
from tests.clients.installed import needs_node, node

pytestmark = needs_node

#: As Segment hands them on: completed, and with a number whose spelling JavaScript changes.
MESSAGES: list[dict[str, Any]] = [
    {
        **call,
        "messageId": f"m-{index}",
        "channel": "server",
        "projectId": "p-1",
        "version": 2,
        "originalTimestamp": "2026-01-01T00:00:00.066179717Z",
        "timestamp": "2026-01-01T00:00:00.066Z",
        "receivedAt": "2026-01-01T00:00:01.762Z",
        "sentAt": None,
        "smallest": 1e-7,
    }
    for index, call in enumerate(CALLS)
]


def _url(stage: Stage) -> str:
    return f"{stage.proxy.url}/webhooks/segment/{TOKEN}"


async def test_single_messages_are_verified_and_kept(stage: Stage) -> None:
    report = await node(
        "webhook.js", url=_url(stage), secret=SECRET, method="PATCH", batched=False, calls=MESSAGES
    )
    assert report.errors == []
    assert [each["status"] for each in report.requests] == [200] * len(MESSAGES)
    await stage.has_all(MESSAGES)


async def test_a_batch_is_verified_and_kept(stage: Stage) -> None:
    report = await node(
        "webhook.js", url=_url(stage), secret=SECRET, method="POST", batched=True, calls=MESSAGES
    )
    assert report.errors == []
    assert [each["status"] for each in report.requests] == [200]  # an array
    assert [each["status"] for each in report.results] == [200] * len(MESSAGES)
    await stage.has_all(MESSAGES)


@pytest.mark.parametrize("batched", [False, True], ids=["single", "batched"])
async def test_what_another_secret_signed_is_refused(batched: bool, stage: Stage) -> None:
    report = await node(
        "webhook.js",
        url=_url(stage),
        secret="another",
        method="POST",
        batched=batched,
        calls=MESSAGES[:1],
    )
    (error,) = report.errors
    assert error.startswith("HTTPError: Unauthorized")
    assert (await stage.ledger())["received"] == 0
