"""How much of its time the process gives to bulk events while live ones come.

A process that is never idle is late at every step: what a live call needs waits each time until
some of the bulk work is done. So bulk gets no more than leaves the process idle for a part of the
time; but the share of what is sent that it is promised it gets, however busy the process is.
"""

from __future__ import annotations

from typing import Final

from proxy.clock import Clock
from proxy.config import Delivery

LIVE_SECONDS: Final = 1.0  # since the last live event, for which the next is expected
SAVED: Final = 0.002  # seconds of work that may be made up for after a quiet moment
SHORTEST: Final = 0.001  # seconds to wait; uvloop's timers are no finer
OWED: Final = 0.05  # seconds of work that count at most, if there was more at once


class Courtesy:
    """Asked before bulk events are handed out; told of all that are."""

    def __init__(self, settings: Delivery, clock: Clock) -> None:
        self._clock = clock
        self._busy = settings.bulk_busy
        self._earned_by_live = settings.bulk_share / (1 - settings.bulk_share)
        self._earned = 0.0  # events that bulk gets in any case
        self._live_until = float("-inf")
        self._credit = 0.0  # seconds of work
        self._at = clock.steady()
        self._worked = clock.worked()

    def handed_out(self, count: int, *, bulk: bool) -> None:
        """So many events were."""
        if bulk:
            self._earned = max(0.0, self._earned - count)
        elif count:
            self._live_until = self._clock.steady() + LIVE_SECONDS
            self._earned = min(1.0, self._earned + count * self._earned_by_live)

    def seconds_to_wait(self) -> float:
        """Until bulk may be handed out, if nothing else is done meanwhile; 0.0: now."""
        now, worked = self._clock.steady(), self._clock.worked()
        credit = self._credit + self._busy * (now - self._at) - (worked - self._worked)
        self._credit = min(SAVED, max(-OWED, credit))
        self._at, self._worked = now, worked
        if self._credit >= 0 or self._earned >= 1 or now >= self._live_until:
            return 0.0
        return max(SHORTEST, min(-self._credit / self._busy, self._live_until - now))
