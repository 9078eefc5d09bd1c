"""Stops sending to an app that fails again and again, and looks now and then whether it is back."""

from __future__ import annotations

from typing import Final, Literal

from proxy.clock import Chance
from proxy.deliver.backoff import backoff

FAILURES: Final = 10  # in a row
#: Requests that were in flight together fail together, when an app is restarted, say. Only what
#: was sent after that tells an outage from a moment.
ROUNDS: Final = 3

State = Literal["closed", "open", "half_open"]


class Breaker:
    """Closed, it lets everything through, and opens when nothing succeeds any more. Then a probe,
    one at a time, finds out whether to close it; after each that fails the wait grows.
    """

    def __init__(self, base_seconds: float, longest_seconds: float, chance: Chance) -> None:
        """Waits are between `base_seconds` and a bound that doubles up to `longest_seconds`."""
        self._base = base_seconds
        self._longest = longest_seconds
        self._chance = chance
        self._state: State = "closed"
        self._opens_at: float | None = None
        self._probing = False
        self._failures = 0  # in a row
        self._rounds = 0  # of them
        self._openings = 0  # since it was last closed
        self._in_flight = 0
        #: Of those in flight when the round began, or when it opened: as many are yet to end.
        self._stragglers = 0

    @property
    def state(self) -> State:
        """Half open from when the time for a probe was noticed until it has ended."""
        return self._state

    @property
    def opens_at(self) -> float | None:
        """When it may be probed (epoch seconds); None while it is closed or being probed."""
        return None if self._probing else self._opens_at

    def allows(self, now: float) -> bool:
        """Whether a request may begin."""
        if self._opens_at is None:
            return True
        # A clock that was set back must not make the wait longer.
        self._opens_at = min(self._opens_at, now + max(self._base, self._longest))
        if now >= self._opens_at:
            self._state = "half_open"
        return self._state == "half_open" and not self._probing

    def begun(self) -> None:
        """A request begins that was allowed."""
        self._in_flight += 1
        self._probing = self._state == "half_open"

    def ended(self, now: float, *, failed: bool) -> None:
        """A request ends; `failed` says that the app could not work on it."""
        straggler = self._stragglers > 0
        self._stragglers = max(0, self._stragglers - 1)
        self._in_flight = max(0, self._in_flight - 1)
        if not failed:
            self._close()
        elif self._state == "closed":
            self._failures += 1
            if not straggler:
                self._rounds += 1
                self._stragglers = self._in_flight
            if self._failures >= FAILURES and self._rounds >= ROUNDS:
                self._open(now)
        elif self._probing and not straggler:
            self._open(now)

    def _open(self, now: float) -> None:
        self._openings += 1
        wait = backoff(self._openings, self._base, self._longest, self._chance)
        self._state = "open"
        self._opens_at = now + wait
        self._probing = False
        self._stragglers = self._in_flight

    def _close(self) -> None:
        self._state = "closed"
        self._opens_at = None
        self._probing = False
        self._failures = self._rounds = self._openings = 0
