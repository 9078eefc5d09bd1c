"""The rate against simulated apps: no sleeps, no sockets, every run the same."""

from __future__ import annotations

import math
import random
from collections import deque
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.deliver.rate import LATE_SECONDS, RateLimit
from tests.support import NOW

TOUCH = 1e-4  # seconds; what the floats of today's epoch add up to


def limited(sent: int, seconds: float = 1.0) -> RateLimit:
    """After so many requests, evenly over the seconds before NOW, and then a 429."""
    rate = RateLimit()
    for number in range(sent):
        rate.sent(NOW - seconds + seconds * number / sent)
    rate.refused(NOW)
    return rate


class Sender:
    """Sends whenever it may, as often as it wants to; its timers are late by `late` seconds."""

    def __init__(self, rate: RateLimit, wants: float = 10_000.0, late: float = 0.0) -> None:
        """`wants` is in requests a second."""
        self.rate = rate
        self.wants = wants
        self.late = late
        self.now = NOW
        self.accepted = 0
        self.refused = 0

    def go_on(self, seconds: float, allowed: float = math.inf) -> list[float]:
        """When it sent. The app says 429 to more than `allowed` in any second."""
        until, sent, window = self.now + seconds, [], deque[float]()
        due = self.now
        while self.now < until:
            if self.rate.may_send(self.now):
                self.rate.sent(self.now)
                sent.append(self.now)
                while window and window[0] <= self.now - 1:
                    window.popleft()
                if len(window) < allowed:
                    window.append(self.now)
                    self.accepted += 1
                    self.rate.taken(self.now)
                else:
                    self.refused += 1
                    self.rate.refused(self.now)
                due += 1 / self.wants
            at = self.rate.next_at(self.now)
            self.now = max(self.now, due, at + self.late if at and at > self.now else 0.0)
        return sent


def most_above(sent: list[float], rate: float) -> float:
    """By how many requests any stretch of time is above the rate."""
    return max(
        last - first + 1 - rate * (sent[last] - sent[first])
        for first in range(len(sent))
        for last in range(first, len(sent))
    )


def test_without_a_429_there_is_no_limit() -> None:
    rate = RateLimit()
    for _ in range(10_000):
        assert rate.may_send(NOW)
        rate.sent(NOW)
    assert (rate.per_second, rate.next_at(NOW)) == (None, None)


@pytest.mark.parametrize(
    ("sent", "seconds", "half"),
    [
        pytest.param(100, 1.0, 50.0, id="of_one_second"),
        pytest.param(500, 5.0, 50.0, id="of_the_last_second_of_many"),
        pytest.param(20, 0.05, 100.0, id="of_a_burst_as_if_it_went_on"),
        pytest.param(1, 1.0, 1.0, id="but_one_a_second_is_the_lowest"),
    ],
)
def test_a_429_halves_what_was_sent_lately_if_nothing_was_taken(
    sent: int, seconds: float, half: float
) -> None:
    assert limited(sent, seconds).per_second == pytest.approx(half, rel=0.05)


def test_otherwise_it_is_a_little_less_than_what_was_taken() -> None:
    rate = RateLimit()
    for number in range(100):
        rate.sent(NOW + number / 100)
    for _ in range(75):
        rate.taken(NOW + 0.99)
    for _ in range(9):
        rate.refused(NOW + 0.99)
    assert rate.per_second == pytest.approx(100 * 0.95 * 75 / 84, rel=0.02)


def test_one_of_many_answers_limits_nothing() -> None:
    rate = RateLimit()
    for _ in range(9):
        rate.sent(NOW)
        rate.taken(NOW)
    rate.refused(NOW)
    assert rate.per_second is None
    rate.refused(NOW)
    assert rate.per_second is not None


def test_many_that_are_refused_together_halve_it_once() -> None:
    rate = limited(100)
    before = rate.per_second
    for number in range(50):
        rate.refused(NOW + number / 100)
    assert rate.per_second == before


def test_refused_again_a_second_later_it_halves_again() -> None:
    rate = limited(400)
    sender = Sender(rate)
    sender.go_on(1.0, allowed=0)
    rate.refused(sender.now)
    assert rate.per_second == pytest.approx(100, rel=0.15)


def test_it_grows_by_a_quarter_each_second() -> None:
    sender = Sender(limited(40))
    assert sender.rate.per_second is not None
    at_first, seen = sender.rate.per_second, []
    for _ in range(5):
        sender.go_on(1.0)
        assert sender.rate.next_at(sender.now)
        seen.append(sender.rate.per_second)
    expected = list(accumulate([1.25] * 6, lambda rate, grow: rate * grow, initial=at_first))
    assert seen == pytest.approx(expected[1:6], rel=1e-6)


def test_it_is_gone_once_it_is_twice_of_what_is_sent() -> None:
    sender = Sender(limited(100), wants=60.0)
    sender.go_on(3.0)
    assert sender.rate.per_second is not None
    sender.go_on(10.0)
    assert sender.rate.per_second is None


def test_it_stays_while_all_wait_to_try_again() -> None:
    rate = limited(100)
    assert not rate.may_send(NOW)
    assert rate.may_send(NOW + 3)
    assert rate.per_second == pytest.approx(50 * 1.25**3, rel=0.05)


@pytest.mark.parametrize("late", [0.0, 0.002, 0.005])
@pytest.mark.parametrize("sent", [20, 200, 2_000])
def test_what_may_be_sent_is_sent_though_timers_are_late(sent: int, late: float) -> None:
    sender = Sender(limited(sent), late=late)
    per_second = sender.rate.per_second
    assert per_second is not None
    assert len(sender.go_on(0.9)) == pytest.approx(0.9 * per_second, rel=0.1, abs=1.5)


@pytest.mark.parametrize("allowed", [5, 50, 500])
def test_an_app_that_allows_so_many_a_second_gets_nearly_as_many(allowed: int) -> None:
    sender = Sender(RateLimit(), wants=1_000.0)
    sender.go_on(30.0, allowed)
    before = sender.accepted, sender.refused
    sender.go_on(60.0, allowed)
    accepted, refused = sender.accepted - before[0], sender.refused - before[1]
    assert accepted > 0.8 * 60 * allowed
    assert refused < 0.15 * accepted


@pytest.mark.parametrize("percent", [1, 5, 7])
def test_an_app_that_says_it_at_any_rate_is_not_sent_less_and_less(percent: int) -> None:
    rate, chance, now = RateLimit(), random.Random(percent), NOW
    sent = 0
    while now < NOW + 60:
        if rate.may_send(now):
            rate.sent(now)
            sent += 1
            if chance.random() * 100 < percent:
                rate.refused(now)
            else:
                rate.taken(now)
        now += 0.005
    assert sent > 0.6 * 60 * 200


@given(
    sent=st.integers(1, 300),
    late=st.floats(0, 0.05),
    pauses=st.lists(st.floats(0, 0.5), max_size=4),
)
def test_no_stretch_of_time_has_more_than_the_rate_allows(
    sent: int, late: float, pauses: list[float]
) -> None:
    sender, moments = Sender(limited(sent), late=late), []
    for pause in pauses:
        moments += sender.go_on(0.3)
        sender.now += pause
    moments += sender.go_on(0.3)
    highest = sender.rate.per_second
    if highest is None or not moments:
        return
    assert most_above(moments, highest) <= 1 + highest * (LATE_SECONDS + TOUCH)


@given(
    st.lists(
        st.tuples(st.sampled_from(["may", "sent", "taken", "refused"]), st.floats(-5, 5)),
        max_size=60,
    )
)
def test_the_next_moment_is_never_far_off_and_may_send_then(
    steps: list[tuple[str, float]],
) -> None:
    rate, now = RateLimit(), NOW
    for step, passed in steps:
        now += passed
        if step == "sent" and rate.may_send(now):
            rate.sent(now)
        elif step == "taken":
            rate.taken(now)
        elif step == "refused":
            rate.refused(now)
        assert rate.per_second is None or rate.per_second >= 1
        at = rate.next_at(now)
        if at is None:
            assert rate.may_send(now)
        else:
            assert now <= at <= now + 1 + TOUCH
            assert (at == now) == rate.may_send(now)
    at = rate.next_at(now)
    assert rate.may_send(at or now)


def test_a_clock_that_is_set_back_does_not_stop_it() -> None:
    rate, back = limited(10), NOW - 3_600
    at = rate.next_at(back)
    assert at is not None
    assert at - back == pytest.approx(1 / 5, rel=0.2)
    assert rate.may_send(at)
