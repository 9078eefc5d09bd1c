"""How many requests a second may go to an app that has said "too many" (429)."""

from __future__ import annotations

import math
from typing import Final

HALF: Final = 0.5  # at least, of the rate that was too many
BELOW: Final = 0.95  # of the rate at which it took them
NOISE: Final = 0.1  # of the answers: as few 429 say nothing of the rate
GROW: Final = 1.25  # each second
LOWEST: Final = 1.0  # a second
AMPLE: Final = 2.0  # times what is sent: a limit that limits nothing
SECOND: Final = 1.0
SHORTEST: Final = 0.1  # seconds from which a rate can be told
#: What was missed because a timer was late may be made up for: timers are exact to a few
#: milliseconds, and high rates would otherwise never be reached.
LATE_SECONDS: Final = 0.01


class RateLimit:
    """None until a tenth of the answers are 429; then a little less than what the app took of what
    was sent, at least half, and a quarter more each second, until that is twice of what is sent. In
    any time it lets through `rate * (seconds + LATE_SECONDS) + 1`.

    What it took tells its limit, and there are apps that say 429 to a few of any number.
    """

    def __init__(self) -> None:
        self._rate: float | None = None
        self._lowest = 0.0  # the rate after the last 429
        self._grown_at = 0.0
        self._cut_at = 0.0
        self._next_at = 0.0
        self._sent = _Lately()
        self._taken = _Lately()
        self._refused = _Lately()

    @property
    def per_second(self) -> float | None:
        """The rate as of the last call, None without a limit."""
        return self._rate

    def may_send(self, now: float) -> bool:
        """Whether a request may begin. `now` is in epoch seconds, here and below."""
        self._turn(now)
        return self._rate is None or now >= self._next_at

    def next_at(self, now: float) -> float | None:
        """When the next request may begin, at `now` at the earliest; None without a limit."""
        self._turn(now)
        return None if self._rate is None else max(now, self._next_at)

    def sent(self, now: float) -> None:
        """A request begins."""
        self._turn(now)
        self._sent.add(now)
        if self._rate is not None:
            self._next_at = max(self._next_at, now - LATE_SECONDS) + 1 / self._rate

    def taken(self, now: float) -> None:
        """An answer came that was no 429."""
        self._taken.add(now)

    def refused(self, now: float) -> None:
        """A 429 came."""
        self._turn(now)
        self._refused.add(now)
        if self._rate is not None and now - self._cut_at < SECOND:
            return  # of what was sent before
        taken, refused = self._taken.count(now), self._refused.count(now)
        if refused <= NOISE * (taken + refused):
            return
        sent = self._sent.per_second(now)
        rate = sent if self._rate is None else min(sent, self._rate)
        share = max(HALF, BELOW * taken / (taken + refused))
        self._rate = self._lowest = max(LOWEST, rate * share)
        self._cut_at = self._grown_at = now
        self._next_at = now + 1 / self._rate

    def _turn(self, now: float) -> None:
        if self._rate is None:
            return
        if now < self._grown_at:  # the clock was set back
            self._cut_at = self._grown_at = now
        self._next_at = min(self._next_at, now + 1 / self._rate)
        seconds = math.floor((now - self._grown_at) / SECOND)
        if seconds < 1:
            return
        self._grown_at += seconds * SECOND
        self._rate *= GROW ** min(seconds, 100)
        # Nothing sent for a moment does not end a limit at once: all may be waiting to try again.
        if self._rate > AMPLE * max(self._lowest, self._sent.per_second(now)):
            self._rate = None


class _Lately:
    """Counts by the second: this one, and the one before."""

    def __init__(self) -> None:
        self._second = float("-inf")  # when the second that is being counted began
        self._count = 0
        self._before = 0

    def add(self, now: float) -> None:
        self._turn(now)
        self._count += 1

    def count(self, now: float) -> int:
        self._turn(now)
        return self._count + self._before

    def per_second(self, now: float) -> float:
        """In the second before `now`, as if those of each counted second were even, and as if what
        has just begun had gone on for as long.
        """
        self._turn(now)
        if not self._before:
            return self._count / max(now - self._second, SHORTEST)
        return self._before * (SECOND - (now - self._second)) + self._count

    def _turn(self, now: float) -> None:
        passed = now - self._second
        if 0 <= passed < SECOND:
            return
        self._before = self._count if SECOND <= passed < 2 * SECOND else 0
        self._second = self._second + SECOND if SECOND <= passed < 2 * SECOND else now
        self._count = 0
