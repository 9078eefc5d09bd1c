"""How often bulk events are handed out while live ones come.

A process that is never idle is late at every step: what a live call needs waits each time until
some of the bulk work is done. So bulk events follow each other evenly, at a pace that leaves the
process idle for a part of the time; but the share of what is sent that they are promised they get,
however busy it is.
"""

from __future__ import annotations

from typing import Final

from proxy.clock import Clock
from proxy.config import Delivery

LIVE_SECONDS: Final = 1.0  # since the last live event, for which the next is expected
AT_FIRST: Final = 0.001  # seconds of work that a bulk event is taken for
LEARN: Final = 0.05  # weight of the last bulk event in what one is taken for
LONGEST: Final = 0.1  # seconds between two
LATE_SECONDS: Final = 0.002  # to make up for: uvloop's timers are no finer than a millisecond


class Courtesy:
    """Asked before bulk events are handed out; told of all that are."""

    def __init__(self, settings: Delivery, clock: Clock) -> None:
        self._clock = clock
        self._busy = settings.bulk_busy
        self._earned_by_live = settings.bulk_share / (1 - settings.bulk_share)
        self._earned = 0.0  # events that bulk gets in any case
        self._live_until = self._next_at = float("-inf")
        self._work = AT_FIRST
        self._worked = clock.worked()

    def handed_out(self, count: int, *, bulk: bool) -> None:
        """So many events, at least one, were."""
        now = self._clock.steady()
        if not bulk:
            self._live_until = now + LIVE_SECONDS
            self._earned = min(1.0, self._earned + count * self._earned_by_live)
            return
        self._earned = max(0.0, self._earned - count)
        # All that is done between two counts as theirs, be it for live events or at the door.
        worked = self._clock.worked()
        work, self._worked = (worked - self._worked) / count, worked
        self._work += LEARN * (min(work, LONGEST * self._busy) - self._work)
        self._next_at = max(self._next_at, now - LATE_SECONDS) + count * self._work / self._busy

    @property
    def live_is_expected(self) -> bool:
        """Whether a live event came so lately that the next may come at any moment."""
        return self._clock.steady() < self._live_until

    def seconds_to_wait(self) -> float:
        """Until bulk events may be handed out; 0.0: now."""
        if self._earned >= 1:
            return 0.0
        return max(0.0, min(self._next_at, self._live_until) - self._clock.steady())
