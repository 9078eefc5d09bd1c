from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.deliver.backoff import backoff, next_wait
from tests.support import FixedChance

ALMOST_ONE = 1 - 2**-53


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0.001, 60),
    factor=st.floats(1, 1_000_000),
    luck=st.floats(0, ALMOST_ONE),
)
@example(attempt=10_000, base=1.0, factor=300.0, luck=ALMOST_ONE)
def test_a_wait_is_never_below_the_base_nor_beyond_the_longest(
    attempt: int, base: float, factor: float, luck: float
) -> None:
    longest = base * factor
    assert base <= backoff(attempt, base, longest, FixedChance(luck)) <= longest * (1 + 1e-9)


def test_the_bound_doubles_until_it_is_the_longest() -> None:
    waits = [backoff(attempt, 1.0, 300.0, FixedChance(ALMOST_ONE)) for attempt in range(1, 20)]
    assert [round(wait) for wait in waits[:9]] == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert all(earlier <= later for earlier, later in pairwise(waits))


def test_what_fails_together_spreads_over_the_whole_range() -> None:
    chance = random.Random(1)
    waits = [backoff(8, 1.0, 300.0, chance) for _ in range(2_000)]
    tenths = {int((wait - 1.0) / 25.5) for wait in waits}
    assert tenths == set(range(10))


@given(
    attempt=st.integers(1, 100),
    base=st.floats(0.001, 60),
    asked=st.floats(0, 3_600),
    luck=st.floats(0, ALMOST_ONE),
)
def test_nothing_comes_back_before_the_time_it_was_asked_to_wait(
    attempt: int, base: float, asked: float, luck: float
) -> None:
    longest = base * 300
    wait = next_wait(attempt, base, longest, asked, FixedChance(luck))
    assert wait >= max(asked, base)
    assert wait <= max(longest, asked + base) * (1 + 1e-9)


def test_those_who_were_told_the_same_seconds_do_not_come_back_in_the_same_instant() -> None:
    chance = random.Random(1)
    waits = [next_wait(1, 1.0, 300.0, 5.0, chance) for _ in range(500)]
    assert {int((wait - 5.0) * 10) for wait in waits} == set(range(10))


def test_a_short_retry_after_does_not_cut_the_back_off_short() -> None:
    assert next_wait(9, 1.0, 300.0, 5.0, FixedChance(ALMOST_ONE)) == pytest.approx(300.0)


def test_without_a_retry_after_the_back_off_stands() -> None:
    chance = FixedChance(0.25)
    assert next_wait(3, 1.0, 300.0, None, chance) == backoff(3, 1.0, 300.0, chance)
