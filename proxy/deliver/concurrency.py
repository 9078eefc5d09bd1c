"""How many requests may be in flight to one app: more while its answers come as fast as before,
fewer when they slow down or say that it is too much. The idea is Vector's adaptive concurrency,
https://vector.dev/blog/adaptive-request-concurrency/.

Time goes in rounds. A round looks only at requests sent since it began, thus at what the present
limit does, and ends when as many of them as the limit are answered. Its round trip is their mean,
in which what is far off counts for no more than twice the median.

Slow answers can be our own doing (they queue up at the app: half the limit halves the round trip)
or not (half the limit changes nothing). Where the limit has been halved, this is compared; to keep
the normal round trip true, it is halved for one round now and then.
"""

from __future__ import annotations

from collections import deque
from math import inf
from statistics import fmean, median
from typing import Final, Literal

SHRINK: Final = 0.9
TOLERATED_SECONDS: Final = 0.005  # slower than normal by this is noise
TOLERATED_SHARE: Final = 0.5  # and so is this share of the normal
DEVIATIONS: Final = 3.0  # and so are these, of one round from the next
SAME: Final = 0.75  # of the round trip, at half the limit: it is not queues of ours
COMPARE_EVERY: Final = 100  # rounds
COMPARE_SOON: Final = 10  # rounds, at first and where the normal was wrong
RIGHT: Final = 0.9  # of the normal, at least
LEARN: Final = 0.1  # weight of a new round in what is normal
RECENT: Final = 100  # answers of which a third may fail
FEW: Final = 30  # answers of which nothing is concluded
A_MOMENT: Final = 1e-6  # seconds; floats of today's epoch are not finer

Verdict = Literal["good", "pressed", "neutral"]


class AdaptiveLimit:
    """Starts in the middle, doubles each round until something resists, then feels its way."""

    def __init__(self, most: int, first: int = 20) -> None:
        """The limit is between 1 and `most`, at first `first` if that is less."""
        self._most = most
        self._limit = float(max(1, min(most, first)))
        self._in_flight = 0
        self._doubling, self._comparing = True, False
        self._shrunk_at = -inf
        self._failed: deque[bool] = deque(maxlen=RECENT)
        self._normal = inf  # not known yet
        self._last = self._deviation = 0.0
        #: The limit from which it came down by latency, and the longest round trip since.
        self._high: tuple[float, float] | None = None
        self._rounds_left = COMPARE_SOON  # before the next comparison
        self._begin(-inf)

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    def sent(self, now: float) -> None:
        """A request begins, at `now` in epoch seconds."""
        if now < self._began:  # the clock was set back
            self._shrunk_at = now
            self._begin(now)
        self._in_flight += 1
        self._reached |= self._in_flight >= self.limit

    def ended(self, now: float, seconds: float, verdict: Verdict) -> None:
        """A request that took `seconds` ends: `good` where the app answered, `pressed` where it
        wants less (429, a time-out), `neutral` where it failed otherwise (5xx, a broken
        connection), which says that it wants less only if a third of them do.
        """
        self._in_flight = max(0, self._in_flight - 1)
        begun = now - seconds + A_MOMENT
        if verdict == "pressed" and begun >= self._shrunk_at:
            self._shrink(now)
        if begun < self._began:
            return
        self._answers += 1
        self._failed.append(verdict == "neutral")
        if verdict == "good":
            self._round_trips.append(seconds)
        if self._answers >= self.limit:
            self._end_round(now)

    def _begin(self, now: float) -> None:
        self._began = now
        self._answers = 0
        self._round_trips: list[float] = []
        self._reached = self._in_flight >= self.limit

    def _shrink(self, now: float) -> None:
        self._doubling = self._comparing = False
        self._high = None
        self._failed.clear()
        self._limit = max(1.0, self._limit * SHRINK)
        self._shrunk_at = now
        self._begin(now)

    def _end_round(self, now: float) -> None:
        if len(self._failed) >= FEW and 3 * sum(self._failed) > len(self._failed):
            self._shrink(now)
            return
        if seconds := self._round_trips:
            most = 2 * median(seconds)
            self._weigh(now, fmean(min(each, most) for each in seconds))
        self._begin(now)

    def _weigh(self, now: float, round_trip: float) -> None:
        self._rounds_left -= 1
        if self._normal == inf:
            self._normal = self._last = round_trip
        if self._high is not None and self._limit <= max(1.0, self._high[0] / 2):
            self._compare(round_trip, *self._high)
            return
        noise = max(TOLERATED_SECONDS, DEVIATIONS * self._deviation)
        tolerated = max(noise, TOLERATED_SHARE * self._normal)
        above = round_trip - self._normal
        if above < 0 or self.limit == 1:  # a single request waits for none of ours
            self._normal += LEARN * above
        if above > tolerated:
            high, longest = self._high or (self._limit, 0.0)
            self._shrink(now)
            self._high = (high, max(longest, round_trip))
            return
        self._deviation += LEARN * (abs(round_trip - self._last) - self._deviation)
        self._last = round_trip
        if above > tolerated / 2:
            self._doubling = False
        elif self._reached:
            self._limit = min(self._most, self._limit * 2 if self._doubling else self._limit + 1)
            if self._high is not None and self._limit > self._high[0]:
                self._high = None
        if self._reached and self._rounds_left <= 0 and self._limit >= 2:
            self._high, self._comparing = (self._limit, round_trip), True
            self._limit /= 2

    def _compare(self, round_trip: float, limit: float, longest: float) -> None:
        """Learns from a round at half of `limit`, at which round trips took `longest`."""
        alone = round_trip > SAME * longest
        if self._comparing:
            right = round_trip >= RIGHT * self._normal
            self._rounds_left = COMPARE_EVERY if right else COMPARE_SOON
        self._normal = round_trip if alone else min(self._normal, round_trip)
        if alone or self._comparing:
            self._limit, self._high = limit, None
        else:  # it queues up: further down
            self._high = (self._limit, round_trip)
        self._comparing = False
