from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.deliver.backoff import backoff
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
