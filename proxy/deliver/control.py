"""What one app is sent just now: as much as it takes, less when it says so, nothing while it is
down or its settings are refused.
"""

from __future__ import annotations

from typing import Final

from proxy.appstate import AppState
from proxy.clock import Chance
from proxy.config import Delivery
from proxy.deliver.breaker import Breaker
from proxy.deliver.concurrency import AdaptiveLimit, Verdict
from proxy.deliver.rate import RateLimit
from proxy.states import Outcome

#: The longest that an app which was down is left alone: a probe costs little.
LONGEST_OPEN_SECONDS: Final = 30.0
TOO_MANY: Final = 429


class Control:
    """Of one app. Every `begun` needs its `ended`."""

    def __init__(self, settings: Delivery, chance: Chance) -> None:
        self._settings = settings
        self._limit = AdaptiveLimit(settings.max_concurrency)
        longest = max(
            settings.retry_base_seconds, min(settings.retry_max_seconds, LONGEST_OPEN_SECONDS)
        )
        self._breaker = Breaker(settings.retry_base_seconds, longest, chance)
        self._rate = RateLimit()
        self._probe_at: float | None = None
        self._delivered = self._retried = self._refused = 0
        self.paused: str | None = None

    def most(self, now: float) -> int:
        """How many requests may be in flight."""
        if self._probe_at is not None:
            # A clock that was set back must not make the wait longer.
            self._probe_at = min(self._probe_at, now + self._settings.retry_max_seconds)
            return 1 if now >= self._probe_at else 0
        if self._breaker.state == "closed":
            return self._limit.limit
        return 1

    def allows(self, now: float) -> bool:
        """Whether one more request may begin now, `most` aside."""
        return self._rate.may_send(now) and self._breaker.allows(now)

    def next_at(self, now: float) -> float | None:
        """When more may be allowed than at `now` (epoch seconds), None if time alone changes
        nothing.
        """
        moments = (self._probe_at, self._breaker.opens_at, self._rate.next_at(now))
        return min((at for at in moments if at is not None and at > now), default=None)

    def begun(self, now: float) -> None:
        self._breaker.begun()
        self._rate.sent(now)
        self._limit.sent(now)

    def ended(self, now: float, seconds: float, outcome: Outcome | None) -> None:
        """`outcome` is None where the request was given up."""
        failed = outcome is None or (outcome.kind == "retry" and outcome.status != TOO_MANY)
        was_closed = self._breaker.state == "closed"
        self._breaker.ended(now, failed=failed)
        self._limit.ended(now, seconds, _verdict(outcome))
        if outcome is None:
            return
        if self._breaker.state == "closed" and not was_closed:
            self._limit = AdaptiveLimit(self._settings.max_concurrency)  # it may grow fast again
        if outcome.status == TOO_MANY:
            self._rate.refused(now)
        self._delivered += outcome.kind == "delivered"
        self._retried += outcome.kind == "retry"
        self._refused += outcome.kind in ("refused", "misconfigured")

    def pause(self, reason: str, now: float) -> None:
        """Nothing but one probe, after a while: the app's settings are refused."""
        self.paused, self._probe_at = reason, now + self._settings.retry_max_seconds

    def resume(self) -> None:
        self.paused = self._probe_at = None

    def state(self, app: str, in_flight: int, ready: int) -> AppState:
        """For those who look on."""
        return AppState(
            app, self._limit.limit, in_flight, ready, self._breaker.state, self._rate.per_second,
            self.paused, self._delivered, self._retried, self._refused,
        )  # fmt: skip


def _verdict(outcome: Outcome | None) -> Verdict:
    """What an answer says about how much the app can take."""
    if outcome is None or outcome.kind != "retry":
        return "neutral" if outcome is None else "good"
    return "pressed" if outcome.status == TOO_MANY or outcome.reason == "timeout" else "neutral"
