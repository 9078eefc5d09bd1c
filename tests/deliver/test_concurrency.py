"""The limit against simulated apps: no sleeps, no sockets, every run the same."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.deliver.concurrency import AdaptiveLimit, Verdict
from tests.support import NOW

MOST = 200


class App:
    """Works on `capacity` requests at a time, first come, first served; the rest queue up.
    `service` gives the seconds of work for one, `verdict` how it ends.
    """

    def __init__(
        self,
        service: Callable[[float], float],
        capacity: int = 1_000_000,
        verdict: Callable[[float], Verdict] = lambda _: "good",
    ) -> None:
        self.service = service
        self.capacity = capacity
        self.verdict = verdict
        self._free_at = [NOW]  # of those who work

    def answers_at(self, now: float) -> float:
        start = now
        while len(self._free_at) >= self.capacity:
            start = max(now, heapq.heappop(self._free_at))
        while self._free_at and self._free_at[0] < now:
            heapq.heappop(self._free_at)
        done = start + self.service(start - NOW)
        heapq.heappush(self._free_at, done)
        return done


class Run:
    """A sender that always has more to send, for some seconds."""

    def __init__(self, app: App, limit: AdaptiveLimit, demand: int = 1_000_000) -> None:
        """`demand` is how many requests there are to keep in flight at most."""
        self.app = app
        self.limit = limit
        self.demand = demand
        self.good = 0
        self.history: list[tuple[float, int]] = []
        self._now = NOW
        self._number = count()
        self._in_flight: list[tuple[float, int, float]] = []

    def seconds(self, seconds: float) -> list[int]:
        """Goes on for so long; the limit after each answer."""
        until = self._now + seconds
        seen: list[int] = []
        while True:
            while len(self._in_flight) < min(self.limit.limit, self.demand):
                self.limit.sent(self._now)
                done = self.app.answers_at(self._now)
                heapq.heappush(self._in_flight, (done, next(self._number), self._now))
            if self._in_flight[0][0] > until:
                self._now = until
                return seen
            done, _, begun = heapq.heappop(self._in_flight)
            self._now = done
            verdict = self.app.verdict(done - NOW)
            self.good += verdict == "good"
            self.limit.ended(done, done - begun, verdict)
            seen.append(self.limit.limit)


def noisy(seconds: float, chance: random.Random) -> Callable[[float], float]:
    """About so many seconds, give or take a fifth."""
    return lambda _: seconds * chance.uniform(0.8, 1.2)


def failing(
    share: float, chance: random.Random, verdict: Verdict = "neutral"
) -> Callable[[float], Verdict]:
    return lambda _: verdict if chance.random() < share else "good"


def a_run(app: App, most: int = MOST, first: int = 20) -> Run:
    return Run(app, AdaptiveLimit(most, first))


@pytest.mark.parametrize(
    ("most", "limit"), [pytest.param(200, 20, id="many"), pytest.param(7, 7, id="few")]
)
def test_it_starts_with_twenty_or_the_most(most: int, limit: int) -> None:
    assert AdaptiveLimit(most).limit == limit


def test_it_doubles_to_the_most_while_nothing_resists() -> None:
    run = a_run(App(lambda _: 0.05))
    assert sorted(set(run.seconds(0.4))) == [20, 40, 80, 160, 200]


def test_a_limit_that_is_not_reached_does_not_grow() -> None:
    run = Run(App(lambda _: 0.05), AdaptiveLimit(MOST), demand=19)
    assert set(run.seconds(30.0)) == {20}


@pytest.mark.parametrize("capacity", [2, 5, 10, 20, 50, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_ends_near_what_the_app_works_on_at_once(capacity: int, seed: int) -> None:
    run = a_run(App(noisy(0.05, random.Random(seed)), capacity))
    run.seconds(60.0)
    seen = run.seconds(60.0)
    assert capacity <= mean(seen) <= 1.6 * capacity + 1
    assert max(seen) <= 1.8 * capacity + 2
    assert run.good >= 0.95 * 120 * capacity / 0.05  # and the app is kept busy


def test_it_follows_a_capacity_that_falls_and_comes_back() -> None:
    app = App(noisy(0.05, random.Random(1)), 100)
    run = a_run(app)
    run.seconds(30.0)
    app.capacity = 5
    run.seconds(60.0)
    assert 5 <= mean(run.seconds(30.0)) <= 10
    app.capacity = 100
    run.seconds(20.0)
    assert mean(run.seconds(10.0)) > 90


def often(chance: random.Random, low: float, high: float, slow: float) -> float:
    """One in fifty is slow."""
    return slow if chance.random() < 0.02 else chance.uniform(low, high)


@pytest.mark.parametrize(
    ("service", "settles"),
    [
        pytest.param(lambda chance: chance.expovariate(2_000), 0.5, id="under_a_millisecond"),
        pytest.param(lambda chance: chance.uniform(0.03, 0.07), 10.0, id="jitter"),
        pytest.param(lambda chance: often(chance, 0.0003, 0.001, 2.0), 20.0, id="slow_ones_nearby"),
        pytest.param(lambda chance: often(chance, 0.03, 0.07, 2.0), 10.0, id="slow_ones"),
        pytest.param(lambda chance: 0.02 * chance.paretovariate(1.5), 20.0, id="a_long_tail"),
        pytest.param(lambda chance: chance.expovariate(20), 60.0, id="anything_goes"),
        pytest.param(lambda chance: chance.choice([0.02, 0.2]), 60.0, id="two_kinds_of_work"),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_costs_no_speed(
    service: Callable[[random.Random], float], settles: float, seed: int
) -> None:
    chance = random.Random(seed)
    run = a_run(App(lambda _: service(chance)))
    run.seconds(settles)
    assert mean(run.seconds(settles / 5)) > 0.9 * MOST


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_small_limit_bears_the_more_noise(seed: int) -> None:
    chance = random.Random(seed)
    run = a_run(App(lambda _: chance.expovariate(20)), most=6)
    assert mean(run.seconds(20.0)) > 0.92 * 6


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_app_that_fails_a_fifth_of_its_calls_is_used_at_nearly_full_speed(seed: int) -> None:
    chance = random.Random(seed)
    run = a_run(App(noisy(0.05, chance), verdict=failing(0.2, chance)))
    run.seconds(20.0)
    assert mean(run.seconds(20.0)) > 0.9 * MOST


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        pytest.param(0.6, "neutral", id="more_than_half_fail"),
        pytest.param(1.0, "neutral", id="all_fail"),
        pytest.param(0.1, "pressed", id="a_tenth_is_told_to_wait"),
    ],
)
def test_back_pressure_shrinks_it_and_it_recovers(share: float, verdict: Verdict) -> None:
    chance = random.Random(1)
    app = App(noisy(0.05, chance))
    run = a_run(app)
    run.seconds(5.0)
    app.verdict = failing(share, chance, verdict)
    run.seconds(10.0)
    assert mean(run.seconds(10.0)) < 0.2 * MOST
    app.verdict = lambda _: "good"
    run.seconds(30.0)
    assert run.limit.limit == MOST


def test_what_was_in_flight_together_shrinks_it_once() -> None:
    limit = AdaptiveLimit(100, 100)
    for _ in range(100):
        limit.sent(NOW)
    for number in range(100):
        limit.ended(NOW + 10 + number / 1_000, 10 + number / 1_000, "pressed")
    assert limit.limit == 90


def test_it_recovers_from_one() -> None:
    run = a_run(App(noisy(0.05, random.Random(1))), first=1)
    run.limit.sent(NOW)
    run.limit.ended(NOW, 0.0, "pressed")
    assert run.limit.limit == 1
    run.seconds(30.0)
    assert run.limit.limit == MOST


@pytest.mark.parametrize("times", [3, 10, 1_000])
def test_an_app_that_is_slower_however_little_it_gets_is_not_starved(times: int) -> None:
    chance = random.Random(1)
    quick, slow = noisy(0.001, chance), noisy(0.001 * times, chance)
    run = a_run(App(lambda at: (quick if at < 2 else slow)(at)))
    run.seconds(2.0)
    run.seconds(30 * max(0.05, 0.001 * times))
    assert run.limit.limit == MOST


def test_a_clock_that_is_set_back_does_not_freeze_it() -> None:
    run = a_run(App(lambda _: 0.05), first=5)
    run.seconds(0.06)
    before = run.limit.limit
    now = NOW - 3_600
    for _ in range(100):
        run.limit.sent(now)
    for _ in range(100):
        run.limit.sent(now)
        run.limit.ended(now + 0.05, 0.05, "good")
    assert before < run.limit.limit <= MOST


VERDICTS: list[Verdict] = ["good", "pressed", "neutral"]


@given(
    most=st.integers(1, 50),
    first=st.integers(1, 100),
    steps=st.lists(
        st.tuples(
            st.floats(-100, 100),
            st.floats(0, 100),
            st.none() | st.sampled_from(VERDICTS),
            st.integers(1, 60),
        )
    ),
)
def test_whatever_happens_it_stays_between_one_and_the_most(
    most: int, first: int, steps: list[tuple[float, float, Verdict | None, int]]
) -> None:
    limit, now = AdaptiveLimit(most, first), NOW
    for passed, seconds, verdict, times in steps:
        now += passed
        for _ in range(times):
            if verdict is None:
                limit.sent(now)
            else:
                limit.ended(now, seconds, verdict)
            assert 1 <= limit.limit <= most
