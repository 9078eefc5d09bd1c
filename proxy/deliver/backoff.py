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


def next_wait(
    attempt: int, base: float, longest: float, retry_after: float | None, chance: Chance
) -> float:
    """As `backoff`, but never less than the `retry_after` seconds that were asked for (None: none
    were), with up to `base` on top: all who were told "5 seconds" would be back in one instant.
    """
    wait = backoff(attempt, base, longest, chance)
    if retry_after is None:
        return wait
    return max(wait, retry_after + base * chance.random())
