"""A proxy of its own for each test, in front of a Kochava that writes down what it got."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import LINK_PATH, Proxy, Sink, running, serving, write_config

KEY = "wk_acme"
TOKEN = "hook-token"
SECRET = "hook-secret"
SOURCE = {
    "name": "acme",
    "write_key": KEY,
    "kochava_app_id": "koacme",
    "webhook_token": TOKEN,
    "webhook_secret": SECRET,
}

LEVELS = 40  # more than a batch of either client for servers on Node

_DEVICE = {
    "device": {
        "id": "9774d56d682e549c",
        "advertisingId": "0d9c2b7a-1111-4222-8333-444455556666",
        "type": "android",
    },
    "os": {"name": "Android", "version": "14"},
}
_WHO: dict[str, Any] = {"userId": "u-1", "anonymousId": "a-1", "context": _DEVICE}
#: What each client is asked to send, in the names of its own parameters.
CALLS: list[dict[str, Any]] = [
    {"type": "identify", "traits": {"plan": "pro"}, **_WHO},
    {"type": "track", "event": "Order Completed", "properties": {"revenue": "9.99"}, **_WHO},
    *(
        {"type": "track", "event": "Level Up", "properties": {"level": level}, **_WHO}
        for level in range(LEVELS)
    ),
    {"type": "page", "name": "Café ☕", "properties": {}, **_WHO},
    {"type": "screen", "name": "Cart", "properties": {}, **_WHO},
    {"type": "group", "groupId": "g-1", "traits": {}, **_WHO},
    {"type": "alias", "previousId": "a-0", "userId": "u-1", "context": _DEVICE},
]


@dataclass
class Stage:
    """Both ends of the way."""

    proxy: Proxy
    kochava: Sink

    async def ledger(self) -> dict[str, Any]:
        """Once nothing is pending: every message is in it, and it balances."""
        counts = await self.proxy.settles()
        del counts["oldest_pending_seconds"]
        return counts

    async def has_all(self, calls: list[dict[str, Any]]) -> None:
        """Every call came once, was kept, and reached Kochava if there is a mapping for it."""
        types = Counter(call["type"] for call in calls)
        unmapped = types["group"] + types["alias"]
        assert await self.ledger() == {
            "received": len(calls),
            "rejected": {},
            "duplicate": 0,
            "filtered": {"unmapped": unmapped},
            "pending": 0,
            "delivered": len(calls) - unmapped,
            "dead": 0,
        }
        links = [each.body for each in self.kochava.requests if each.path == LINK_PATH]
        assert [link["data"]["app_userid"] for link in links] == ["u-1"]
        events = [each.body for each in self.kochava.requests if each.path != LINK_PATH]
        assert {event["data"]["device_ids"]["adid"] for event in events} == {
            _DEVICE["device"]["advertisingId"]
        }
        names = Counter(event["data"]["event_name"] for event in events)
        views = types["page"] + types["screen"]
        assert names == {"Purchase": 1, "Level Up": LEVELS, "View": views}
        details = [event["data"]["event_data"] for event in events]
        assert sorted(each["level"] for each in details if "level" in each) == [*range(LEVELS)]
        assert "Café ☕" in [each.get("name") for each in details]


@pytest.fixture
async def kochava() -> AsyncIterator[Sink]:
    async with serving(Sink()) as sink:
        yield sink


@pytest.fixture
async def stage(tmp_path: Path, kochava: Sink) -> AsyncIterator[Stage]:
    config = write_config(tmp_path, kochava.url, sources=[SOURCE])
    async with running(config) as proxy:
        yield Stage(proxy, kochava)
