"""Helpers for tests: a clock that tests turn, and short ways to make what parts take."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from proxy.config import Config
from proxy.configfile import read_config
from proxy.event import Event
from proxy.segment import Alias, Delete, Group, Identify, Message, Page, Screen, Track

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z

SOURCE: dict[str, Any] = {
    "name": "acme",
    "write_key": "wk_acme",
    "kochava_app_id": {"ios": "koacme-ios", "android": "koacme-android"},
}

IOS_DEVICE = {
    "id": "6D1E8F6A-0A57-4C39-9D53-0B1B7A9F2C10",
    "advertisingId": "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60",
    "adTrackingEnabled": True,
    "type": "ios",
}


class FakeClock:
    """Stands still until `advance`; `wait` returns when its event is set or its time has come."""

    def __init__(self, now: float = NOW) -> None:
        self._now = now
        self._steady = 0.0
        self._worked = 0.0
        self._turned = asyncio.Condition()
        self.waiting = 0  # how many calls of `wait` have not returned

    def now(self) -> float:
        return self._now

    def steady(self) -> float:
        return self._steady

    def worked(self) -> float:
        return self._worked

    def work(self, seconds: float) -> None:
        """Keeps the processor busy; no time passes."""
        self._worked += seconds

    def set_back(self, seconds: float) -> None:
        """The time of day; no time passes."""
        self._now -= seconds

    async def advance(self, seconds: float) -> None:
        self._now += seconds
        self._steady += seconds
        async with self._turned:
            self._turned.notify_all()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        until = None if seconds is None else self._steady + seconds

        async def turned() -> None:
            async with self._turned:
                await self._turned.wait_for(lambda: until is not None and self._steady >= until)

        tasks = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(turned())]
        self.waiting += 1
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class FixedChance:
    """Always the same number."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def make_config(source: dict[str, Any] | None = None, **tables: Any) -> Config:
    """A config with one source, as if read from a file."""
    table = {"sources": [{**SOURCE, **(source or {})}], **tables}
    return read_config(table, {}, Path("config.toml"))


def make_event(
    message: dict[str, Any], message_id: str = "m-1", facts: dict[str, Any] | None = None
) -> Event:
    """A stored event, as the door would have made it."""
    return Event(
        "acme",
        message_id,
        str(message.get("type", "")),
        NOW,
        msgspec.json.encode(facts or {}),
        msgspec.json.encode(message),
    )


def make_message(type_: str = "track", **fields: Any) -> Message:
    """A typed message; everything that is not given says nothing."""
    types: dict[str, tuple[type[Message], dict[str, Any]]] = {
        "track": (Track, {"event": "Tested", "properties": {}}),
        "identify": (Identify, {"traits": {}}),
        "screen": (Screen, {"name": None, "properties": {}}),
        "page": (Page, {"name": None, "properties": {}}),
        "group": (Group, {"group_id": "g-1", "traits": {}}),
        "alias": (Alias, {"previous_id": "p-1"}),
        "delete": (Delete, {}),
    }
    class_, own = types[type_]
    moment = datetime.fromtimestamp(NOW, UTC)
    common: dict[str, Any] = {
        "message_id": "m-1",
        "user_id": None,
        "anonymous_id": None,
        "timestamp": moment,
        "received_at": moment,
        "context": {},
        "integrations": {},
    }
    return class_(**{**common, **own, **fields})
