"""When to try again."""

from __future__ import annotations

from proxy.clock import Chance


def backoff(attempt: int, base: float, longest: float, chance: Chance) -> float:
    """Seconds before the next try after `attempt` tries failed.

    Full jitter: anywhere between `base` and a bound that doubles with each attempt, so that what
    failed together does not come back together.
    """
    bound = min(longest, base * 2.0 ** min(attempt, 60))
    return base + (bound - base) * chance.random()
