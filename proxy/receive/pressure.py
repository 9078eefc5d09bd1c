"""When to tell clients to wait: too much is waiting, or one source sends too fast.

A 429 with Retry-After makes SDKs keep their data; so does a 503, which a full disk gets.
Source: what each SDK retries on, docs/clients.md, "Answers".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from proxy.clock import Clock
from proxy.config import Spool as SpoolSettings
from proxy.errors import RequestRefused
from proxy.spool.base import Usage

LOOK_EVERY_SECONDS: Final = 1.0
WAIT_SECONDS: Final = 30.0
#: Below this share of the mark messages are taken again, so that it is not crossed every second.
LOW_WATER: Final = 0.9
#: A bucket that is empty to the dot takes nothing yet, and clocks are not exact.
A_MOMENT: Final = 0.001


class HighWater:
    """Stands at the doors; looks at the spool once a second at most."""

    def __init__(self, settings: SpoolSettings, usage: Callable[[], Usage], clock: Clock) -> None:
        self._max_bytes = settings.high_water_megabytes * 1_000_000
        self._max_seconds = settings.high_water_hours * 3_600
        self._usage = usage
        self._clock = clock
        self._looked_at = float("-inf")
        self._over: str | None = None

    def check(self) -> None:
        """Returns if there is room.

        Raises:
            RequestRefused: 429, come again later.

        """
        now = self._clock.now()
        if now - self._looked_at >= LOOK_EVERY_SECONDS or now < self._looked_at:
            self._looked_at = now
            self._over = self._look(now)
        if self._over:
            raise RequestRefused(429, "backlog_too_large", self._over, WAIT_SECONDS)

    def _look(self, now: float) -> str | None:
        usage = self._usage()
        share = LOW_WATER if self._over else 1.0
        if self._max_bytes and usage.bytes > self._max_bytes * share:
            return "the spool is above its high-water mark"
        oldest = usage.oldest_received_at
        if self._max_seconds and oldest is not None and now - oldest > self._max_seconds * share:
            return "the oldest waiting event is above the high-water mark"
        return None


class Rates:
    """A bucket for each source that has a limit: it holds one second's worth, and a request that
    finds anything in it may overdraw it, so that large batches pass and the next waits.
    """

    def __init__(self, limits: Mapping[str, float], clock: Clock) -> None:
        """`limits` are messages a second by source; 0 is none."""
        self._limits = {source: limit for source, limit in limits.items() if limit}
        self._buckets = {source: (limit, clock.now()) for source, limit in self._limits.items()}
        self._clock = clock

    def take(self, messages: Mapping[str, int]) -> None:
        """Counts messages by source; none of them, if one of the sources must wait.

        Raises:
            RequestRefused: 429, a source has used up what it may.

        """
        limited = self._limits.keys() & messages.keys()
        if not limited:
            return
        now = self._clock.now()
        for source in limited:
            limit = self._limits[source]
            level, at = self._buckets[source]
            level = min(limit, level + max(0.0, now - at) * limit)
            self._buckets[source] = (level, now)
            if level <= 0:
                wait = -level / limit + A_MOMENT
                raise RequestRefused(429, "rate_limited", "this source sends too fast", wait)
        for source in limited:
            level, _ = self._buckets[source]
            self._buckets[source] = (level - messages[source], now)
