"""Logging the same thing now and then instead of a thousand times."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

EVERY_SECONDS: Final = 10.0
MAX_KINDS: Final = 1_000


class Occasionally:
    """Says for each kind of event whether it is time to log it, and how many it stands for."""

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self._every = every_seconds
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def count(self, now: float, *kind: Hashable) -> int:
        """How many of this kind there were since the last one logged, this one included; 0 while
        it is too early to log again.
        """
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        last, unsaid = self._kinds.get(kind, (float("-inf"), 0))
        if now - last < self._every:
            self._kinds[kind] = (last, unsaid + 1)
            return 0
        self._kinds[kind] = (now, 0)
        return unsaid + 1
