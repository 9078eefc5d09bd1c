"""When clients are told to wait, for how long, and that they get in again."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Spool as SpoolSettings
from proxy.errors import RequestRefused
from proxy.receive.pressure import HighWater, Rates
from proxy.receive.replies import refusal
from proxy.spool.base import Usage
from tests.receive.conftest import Door, OpenDoor, track
from tests.support import NOW, FakeClock, make_config

MEGABYTE = 1_000_000


class Marks:
    """A high-water mark over a spool that is as full as a test says."""

    def __init__(self, clock: FakeClock, megabytes: float = 0, hours: float = 0) -> None:
        self.bytes = 0
        self.oldest: float | None = None
        self.looks = 0
        settings = SpoolSettings(high_water_megabytes=megabytes, high_water_hours=hours)
        self._high_water = HighWater(settings, self._usage, clock)

    def _usage(self) -> Usage:
        self.looks += 1
        return Usage(self.bytes, self.oldest)

    def open(self) -> bool:
        """Whether a client gets in; one that does not is told when to come again."""
        try:
            self._high_water.check()
        except RequestRefused as refused:
            waits(refused, "backlog_too_large")
            return False
        return True


def waits(refused: RequestRefused, code: str) -> int:
    """For how many seconds a client is told to, in the answer it gets."""
    answer = refusal(refused)
    assert (answer.status, refused.code) == (429, code)
    seconds = int(answer.headers["Retry-After"])
    assert seconds >= 1
    return seconds


class TestHighWater:
    async def test_above_the_mark_clients_wait_until_it_is_well_below(
        self, clock: FakeClock
    ) -> None:
        marks = Marks(clock, megabytes=10)
        seen = []
        for megabytes in (10, 10.1, 9.5, 9.1, 9, 9.5, 10, 10.1):
            marks.bytes = int(megabytes * MEGABYTE)
            seen.append(marks.open())
            await clock.advance(1)
        assert seen == [True, False, False, False, True, True, True, False]

    async def test_the_oldest_waiting_event_counts_too(self, clock: FakeClock) -> None:
        marks = Marks(clock, hours=10)
        seen = []
        for hours in (10, 10.1, 9.5, 9, None, 9.5, 10.1, None):
            marks.oldest = None if hours is None else clock.now() - hours * 3_600
            seen.append(marks.open())
            await clock.advance(1)
        assert seen == [True, False, False, True, True, True, False, True]

    @pytest.mark.parametrize(("megabytes", "hours"), [(0, 0), (10, 0), (0, 10)])
    async def test_a_mark_of_zero_is_none(
        self, clock: FakeClock, megabytes: float, hours: float
    ) -> None:
        marks = Marks(clock, megabytes, hours)
        marks.bytes, marks.oldest = 10**15, None
        assert marks.open() is not bool(megabytes)
        await clock.advance(1)
        marks.bytes, marks.oldest = 0, 0.0
        assert marks.open() is not bool(hours)

    async def test_either_mark_keeps_clients_waiting(self, clock: FakeClock) -> None:
        marks = Marks(clock, megabytes=10, hours=10)
        seen = []
        for megabytes, hours in [(11, 11), (0, 11), (0, 0), (11, 0), (0, 0)]:
            marks.bytes, marks.oldest = megabytes * MEGABYTE, clock.now() - hours * 3_600
            seen.append(marks.open())
            await clock.advance(1)
        assert seen == [False, False, True, False, True]

    async def test_the_spool_is_looked_at_once_a_second(self, clock: FakeClock) -> None:
        marks = Marks(clock, megabytes=10)
        for _ in range(10):
            for _ in range(100):
                marks.open()
            await clock.advance(0.25)
        assert marks.looks == 3

    async def test_a_clock_that_is_set_back_shuts_nobody_out(self, clock: FakeClock) -> None:
        marks = Marks(clock, megabytes=10, hours=10)
        marks.bytes = 11 * MEGABYTE
        assert not marks.open()
        marks.bytes, marks.oldest = 0, clock.now()
        await clock.advance(-3_600)
        assert marks.open()


LIMITS = st.floats(0.01, 10_000)
CALLS = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 2_500)), min_size=1, max_size=50)


def asks(rates: Rates, messages: int, source: str = "acme") -> int | None:
    """None if they are let through, else the seconds that the client is told to wait."""
    try:
        rates.take({source: messages})
    except RequestRefused as refused:
        return waits(refused, "rate_limited")
    return None


class TestRates:
    @given(LIMITS, CALLS)
    async def test_no_more_than_the_limit_a_burst_and_one_batch_gets_through(
        self, limit: float, calls: list[tuple[float, int]]
    ) -> None:
        clock = FakeClock()
        rates = Rates({"acme": limit}, clock)
        through = largest = 0
        for pause, messages in calls:
            await clock.advance(pause)
            largest = max(largest, messages)
            if asks(rates, messages) is None:
                through += messages
            assert through <= limit * (clock.now() - NOW + 1) + largest

    @given(LIMITS, CALLS)
    async def test_who_waits_as_long_as_told_gets_in(
        self, limit: float, calls: list[tuple[float, int]]
    ) -> None:
        clock = FakeClock()
        rates = Rates({"acme": limit}, clock)
        for pause, messages in calls:
            await clock.advance(pause)
            wait = asks(rates, messages)
            if wait is not None:
                await clock.advance(wait)
                assert asks(rates, messages) is None

    @given(st.integers(1, 1_000))
    async def test_who_keeps_to_the_limit_never_waits(self, limit: int) -> None:
        clock = FakeClock()
        rates = Rates({"acme": limit}, clock)
        for _ in range(100):
            await clock.advance(1.001)
            assert [asks(rates, 1) for _ in range(min(limit, 20))] == [None] * min(limit, 20)

    async def test_a_source_that_was_silent_for_long_has_saved_no_more_than_a_second(
        self, clock: FakeClock
    ) -> None:
        rates = Rates({"acme": 10}, clock)
        await clock.advance(86_400)
        assert [asks(rates, 1) is None for _ in range(12)] == [True] * 10 + [False] * 2

    async def test_each_source_has_its_own_limit_and_0_is_none(self, clock: FakeClock) -> None:
        rates = Rates({"acme": 1, "other": 1, "free": 0}, clock)
        asks(rates, 100, "acme")
        assert asks(rates, 1, "acme") is not None
        assert asks(rates, 1, "other") is None
        assert {asks(rates, 10**9, "free") for _ in range(9)} == {None}

    async def test_a_clock_that_is_set_back_gives_and_takes_nothing(self, clock: FakeClock) -> None:
        rates = Rates({"acme": 10}, clock)
        asks(rates, 20)
        await clock.advance(-3_600)
        assert asks(rates, 1) == 2  # 1.001 s, in whole seconds
        await clock.advance(2)
        assert asks(rates, 1) is None


TOKEN = "hook"
ACME = {"webhook_token": TOKEN}
DATA = base64.urlsafe_b64encode(json.dumps(track("m-2", writeKey="wk_acme")).encode()).decode()
GZIPPED = gzip.compress(json.dumps({"batch": [track("m-2")]}).encode())

Call = Callable[[Door], Awaitable[ClientResponse]]
WAYS_IN: dict[str, Call] = {
    "single": lambda door: door.post("/v1/track", track("m-2")),
    "batch": lambda door: door.post("/v1/batch", {"batch": [track("m-2")]}),
    "gzip": lambda door: door.post("/v1/b", GZIPPED, Content_Encoding="gzip"),
    "jsonp": lambda door: door.client.get("/v1/t", params={"data": DATA, "callback": "f"}),
    "webhook": lambda door: door.post(f"/webhooks/segment/{TOKEN}", [track("m-2")]),
}


class TestDoors:
    @pytest.mark.parametrize("call", WAYS_IN.values(), ids=WAYS_IN.keys())
    async def test_above_the_high_water_mark_no_door_takes_anything(
        self, open_door: OpenDoor, call: Call
    ) -> None:
        door = await open_door(make_config(ACME, spool={"high_water_megabytes": 0.001}))
        await refuses(door, call, "backlog_too_large", 30)
        assert door.counts().received == 0

    @pytest.mark.parametrize("call", WAYS_IN.values(), ids=WAYS_IN.keys())
    async def test_above_its_rate_a_source_gets_in_nowhere_and_later_everywhere(
        self, open_door: OpenDoor, clock: FakeClock, call: Call
    ) -> None:
        door = await open_door(make_config(ACME | {"rate_limit": 2}))
        first = {"batch": [track(f"first-{n}") for n in range(9)] + [{"type": "nonsense"}]}
        assert (await door.post("/v1/batch", first)).status == 200
        before = door.counts()
        await refuses(door, call, "rate_limited", 5)
        assert door.counts() == before
        await clock.advance(5)
        assert (await call(door)).status == 200
        assert door.counts().received == before.received + 1

    @pytest.mark.parametrize(
        "config", [{"spool": {"high_water_megabytes": 0.001}}, {"source": {"rate_limit": 0.1}}]
    )
    async def test_a_pixel_is_an_image_all_the_same(
        self, open_door: OpenDoor, config: dict[str, Any]
    ) -> None:
        door = await open_door(make_config(**config))
        await door.post("/v1/track", track("m-1"))
        before = door.counts()
        answer = await door.client.get("/v1/pixel/track", params={"data": DATA})
        assert (answer.status, answer.content_type) == (200, "image/gif")
        assert door.counts() == before

    async def test_a_browser_may_read_when_to_come_again(self, open_door: OpenDoor) -> None:
        door = await open_door(make_config(spool={"high_water_megabytes": 0.001}))
        answer = await door.post("/v1/t", track(), Origin="https://shop.example")
        assert answer.status == 429
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]

    async def test_a_batch_of_several_sources_is_taken_whole_or_not_at_all(
        self, open_door: OpenDoor
    ) -> None:
        """What was kept of a refused batch would come again, and without ids be counted twice."""
        other = {"name": "other", "write_key": "wk_other", "kochava_app_id": "ko"}
        table = make_config().sources[0]
        first = {"name": table.name, "write_key": "wk_acme", "kochava_app_id": "ko"}
        door = await open_door(make_config(sources=[first, other | {"rate_limit": 1}]))
        keys = ["wk_acme", "wk_other"]
        batch = {"batch": [track(None, writeKey=key) for key in keys]}
        statuses = [(await door.post("/v1/batch", batch, key=None)).status for _ in range(3)]
        assert statuses == [200, 429, 429]
        assert door.counts().received == 1

    async def test_no_health_check_and_no_settings_are_refused(self, open_door: OpenDoor) -> None:
        door = await open_door(make_config(spool={"high_water_megabytes": 0.001}))
        for path in ("/health/live", "/health/ready", "/v1/projects/wk_acme/settings"):
            assert (await door.client.get(path)).status == 200


async def refuses(door: Door, call: Call, code: str, seconds: int) -> None:
    answer = await call(door)
    assert answer.status == 429
    assert answer.headers["Retry-After"] == str(seconds)
    assert await answer.json() == {
        "success": False, "code": code, "message": (await answer.json())["message"],
    }  # fmt: skip
