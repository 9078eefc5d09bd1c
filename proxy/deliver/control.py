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
from proxy.spool.base import Pause
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
        self._pause: Pause | None = None
        self._may_probe = False
        self._delivered = self._retried = self._refused = 0

    @property
    def paused(self) -> str | None:
        """Why nothing but probes is sent, None if that is not so."""
        return self._pause.reason if self._pause else None

    @property
    def most(self) -> int:
        """How many requests may be in flight."""
        probes_only = self._pause is not None or self._breaker.state != "closed"
        return 1 if probes_only else self._limit.limit

    def allows(self, now: float) -> bool:
        """Whether one more request may begin now, `most` aside."""
        return (self._pause is None or self._may_probe) and self._could_send(now)

    def probe_is_due(self, now: float) -> bool:
        """Whether a probe of an app that is paused could be sent now, if this worker may."""
        if self._pause is None or self._may_probe:
            return False
        # A clock that was set back must not make the wait longer.
        latest = now + self._settings.retry_max_seconds
        return not now < self._pause.probe_at <= latest and self._could_send(now)

    def _could_send(self, now: float) -> bool:
        return self._rate.may_send(now) and self._breaker.allows(now)

    def next_at(self, now: float) -> float | None:
        """When more may be allowed than at `now` (epoch seconds), None if time alone changes
        nothing.
        """
        probe_at = self._pause.probe_at if self._pause else None
        moments = (probe_at, self._breaker.opens_at, self._rate.next_at(now))
        return min((at for at in moments if at is not None and at > now), default=None)

    def begun(self, now: float) -> None:
        self._may_probe = False
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
        else:
            self._rate.taken(now)
        self._delivered += outcome.kind == "delivered"
        self._retried += outcome.kind == "retry"
        self._refused += outcome.kind in ("refused", "misconfigured")

    def heed(self, pause: Pause | None) -> None:
        """While there is a pause nothing is sent but what `allow_probe` allows."""
        self._pause = pause
        self._may_probe = self._may_probe and pause is not None

    def allow_probe(self) -> None:
        """One request may be sent to an app that is paused."""
        self._may_probe = True

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
