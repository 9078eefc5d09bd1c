from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.deliver.breaker import Breaker
from tests.support import NOW, FixedChance

BASE, LONGEST = 1.0, 30.0
ALMOST_ONE = 1 - 2**-53


def a_breaker(luck: float = 0.0) -> Breaker:
    return Breaker(BASE, LONGEST, FixedChance(luck))


def fail(breaker: Breaker, times: int = 1, now: float = NOW) -> None:
    """One request after the other."""
    for _ in range(times):
        breaker.begun()
        breaker.ended(now, failed=True)


def opened(luck: float = 0.0) -> Breaker:
    breaker = a_breaker(luck)
    fail(breaker, 10)
    assert breaker.state == "open"
    return breaker


def test_ten_failures_in_a_row_open_it() -> None:
    breaker = a_breaker()
    fail(breaker, 9)
    assert (breaker.state, breaker.allows(NOW), breaker.opens_at) == ("closed", True, None)
    fail(breaker)
    assert (breaker.state, breaker.allows(NOW), breaker.opens_at) == ("open", False, NOW + BASE)


def test_one_success_between_starts_the_count_anew() -> None:
    breaker = a_breaker()
    fail(breaker, 9)
    breaker.begun()
    breaker.ended(NOW, failed=False)
    fail(breaker, 9)
    assert breaker.state == "closed"


def test_a_hundred_that_fail_together_are_not_yet_an_outage() -> None:
    breaker = a_breaker()
    for bursts in range(1, 4):
        for _ in range(100):
            breaker.begun()
        for _ in range(100):
            breaker.ended(NOW, failed=True)
        assert (breaker.state == "open") == (bursts == 3)


def test_a_hundred_that_are_replaced_as_they_fail_open_it_within_three_rounds() -> None:
    breaker = a_breaker()
    for _ in range(100):
        breaker.begun()
    failures = 0
    while breaker.allows(NOW):
        breaker.ended(NOW, failed=True)
        breaker.begun()
        failures += 1
        assert failures <= 300
    assert failures > 100


def test_an_app_that_fails_nine_of_ten_calls_stays_in_use() -> None:
    breaker = a_breaker()
    for number in range(1_000):
        breaker.begun()
        breaker.ended(NOW, failed=number % 10 != 0)
        assert breaker.state == "closed"


def test_when_its_time_has_come_one_probe_may_pass() -> None:
    breaker = opened()
    assert not breaker.allows(NOW + BASE - 0.001)
    assert breaker.allows(NOW + BASE)
    assert breaker.state == "half_open"
    breaker.begun()
    assert not breaker.allows(NOW + BASE + 100)
    assert breaker.opens_at is None  # its end is what there is to wait for


def test_a_good_probe_closes_it_and_all_is_forgotten() -> None:
    breaker = opened(ALMOST_ONE)
    assert breaker.allows(NOW + 2 * BASE)
    breaker.begun()
    breaker.ended(NOW + 3, failed=False)
    assert (breaker.state, breaker.opens_at) == ("closed", None)
    fail(breaker, 9, NOW + 3)
    assert breaker.state == "closed"
    fail(breaker, 1, NOW + 3)
    assert breaker.opens_at is not None
    assert breaker.opens_at - (NOW + 3) == pytest.approx(2 * BASE)


def test_each_failed_probe_doubles_the_longest_wait_up_to_a_bound() -> None:
    breaker, waits, now = opened(ALMOST_ONE), [], NOW
    for _ in range(7):
        assert breaker.opens_at is not None
        waits.append(round(breaker.opens_at - now))
        now = breaker.opens_at
        assert breaker.allows(now)
        fail(breaker, 1, now)
    assert waits == [2, 4, 8, 16, 30, 30, 30]


def test_workers_that_open_together_do_not_probe_together() -> None:
    chance = random.Random(1)
    moments = set()
    for _ in range(100):
        breaker = Breaker(BASE, LONGEST, chance)
        fail(breaker, 10)
        assert breaker.opens_at is not None
        moments.add(int((breaker.opens_at - NOW) * 10))
    assert moments == set(range(10, 20))


def opened_with_one_in_flight() -> Breaker:
    breaker = a_breaker()
    breaker.begun()
    fail(breaker, 10)
    assert breaker.state == "open"
    return breaker


def test_a_good_end_of_what_was_in_flight_closes_it() -> None:
    breaker = opened_with_one_in_flight()
    breaker.ended(NOW, failed=False)
    assert breaker.state == "closed"


def test_a_bad_end_of_what_was_in_flight_is_not_the_probes() -> None:
    breaker = opened_with_one_in_flight()
    assert breaker.allows(NOW + BASE)
    breaker.begun()
    breaker.ended(NOW + BASE, failed=True)
    assert not breaker.allows(NOW + 100)
    breaker.ended(NOW + BASE, failed=True)
    assert breaker.state == "open"


def test_a_clock_that_is_set_back_does_not_keep_it_open() -> None:
    breaker = opened()
    assert not breaker.allows(NOW - 3_600)
    assert breaker.allows(NOW - 3_600 + LONGEST)


class Traffic(RuleBasedStateMachine):
    """Requests begin where they may, and end in any order, well or badly."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(BASE, LONGEST, random.Random(1))
        self.now = NOW
        self.in_flight: list[str] = []  # "probe" where it began when not closed

    @rule(times=st.integers(1, 20))
    def begin(self, times: int) -> None:
        for _ in range(times):
            if self.breaker.allows(self.now):
                closed = self.breaker.state == "closed"
                self.in_flight.append("ordinary" if closed else "probe")
                self.breaker.begun()

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), times=st.integers(1, 20), failed=st.sampled_from([True, True, False]))
    def end(self, data: st.DataObject, times: int, failed: bool) -> None:
        for _ in range(min(times, len(self.in_flight))):
            which = data.draw(st.integers(0, len(self.in_flight) - 1))
            self.in_flight.pop(which)
            self.breaker.ended(self.now, failed=failed)
            if not failed:
                assert self.breaker.state == "closed"
                self.in_flight = ["ordinary"] * len(self.in_flight)

    @rule(seconds=st.floats(-5, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_two_probes(self) -> None:
        assert self.in_flight.count("probe") <= 1

    @invariant()
    def whoever_waits_knows_for_how_long(self) -> None:
        at = self.breaker.opens_at
        if self.breaker.state == "open":
            assert at is not None
        if self.breaker.state == "closed":
            assert at is None

    def teardown(self) -> None:
        """The app is good from here on: what is in flight ends, and then a probe passes."""
        for _ in self.in_flight:
            self.breaker.ended(self.now, failed=True)
        for _ in range(2):
            if self.breaker.allows(self.now):
                self.breaker.begun()
                self.breaker.ended(self.now, failed=False)
            self.now += LONGEST
        assert self.breaker.state == "closed"


TestTraffic = Traffic.TestCase


@given(st.lists(st.booleans(), max_size=60), st.floats(0, ALMOST_ONE))
def test_no_wait_is_longer_than_the_longest(ends: list[bool], luck: float) -> None:
    breaker, now = opened(luck), NOW
    for failed in ends:
        assert breaker.opens_at is None or BASE <= breaker.opens_at - now <= LONGEST
        now = breaker.opens_at or now
        assert breaker.allows(now)
        breaker.begun()
        breaker.ended(now, failed=failed)
