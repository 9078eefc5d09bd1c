"""Apps whose settings are refused: nothing goes to them but a probe, of one worker, at a slow pace.

Which apps these are stands in the spool, where all workers find it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from proxy.clock import Clock
from proxy.config import Delivery as Settings
from proxy.deliver.apps import App, Apps
from proxy.spool.base import Pauses

_log = structlog.get_logger(room="deliver")


class Probes:
    """What of pauses and probes concerns all apps; what concerns one is its `Control`'s."""

    def __init__(self, pauses: Pauses, apps: Apps[Any], settings: Settings, clock: Clock) -> None:
        self._pauses = pauses
        self._apps = apps
        self._settings = settings
        self._clock = clock
        self._claiming: set[str] = set()

    def paused(self, app: App[Any]) -> bool:
        return app.name in self._pauses.all()

    def claims(self, now: float) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Has every app heed its pause, and says what is to be done for probes that are due.

        Only an app that has something ready is probed, so that the one who claims can send: each
        worker keeps an event at hand for every app that is paused.
        """
        pauses = self._pauses.all()
        for name in pauses:
            self._apps.get(name)
        for app in self._apps:
            app.control.heed(pauses.get(app.name))
        due = [
            app
            for app in self._apps
            if app.has_ready
            and not app.sending
            and app.name not in self._claiming
            and app.control.probe_is_due(now)
        ]
        self._claiming.update(app.name for app in due)
        return [partial(self._claim, app) for app in due]

    async def _claim(self, app: App[Any]) -> None:
        try:
            if await self._pauses.claim_probe(app.name, self._next_at()):
                app.control.allow_probe()
        finally:
            self._claiming.discard(app.name)

    def pause(self, app: App[Any], reason: str) -> None:
        self._pauses.pause(app.name, reason, self._next_at())

    def resume(self, app: App[Any]) -> None:
        """A probe was answered."""
        self._pauses.resume(app.name)
        _log.info("app_resumed", app=app.name)

    def _next_at(self) -> float:
        return self._clock.now() + self._settings.retry_max_seconds
