"""The postbacks that Kochava would send for the installs which the sandbox received."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import aiohttp
import structlog

from proxy.clock import Clock
from proxy.occasionally import Occasionally
from proxy.sandbox.template import Call, Method, make_call, values_for

DELAY_SECONDS: Final = 1.0  # as an attribution takes its time
RETRY_SECONDS: Final = 1.0  # Kochava's own is not published
TRIES: Final = 10  # the most that Kochava's settings offer ("Create a Kochava Certified Postback")
MAX_AT_ONCE: Final = 20
MAX_WAITING: Final = 10_000  # some kilobytes each

#: Answers the URLs for the postbacks of an app id, macros and all; none: it has none.
UrlsOf = Callable[[str], Sequence[str]]

_log = structlog.get_logger(room="sandbox")


class Firing:
    """Calls the URLs of an app for each of its installs until they are answered with 2xx. Installs
    that come before the URLs are known wait for them.
    """

    def __init__(self, clock: Clock, max_waiting: int = MAX_WAITING) -> None:
        self._clock = clock
        self._max_waiting = max_waiting
        self._urls_of: UrlsOf | None = None
        self._early: list[tuple[str, dict[str, str]]] = []
        self._too_early = 0
        self._waiting: set[asyncio.Task[None]] = set()
        self._never = asyncio.Event()
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._often = Occasionally()

    @property
    def waiting(self) -> int:
        """How many postbacks are under way."""
        return len(self._waiting)

    def begin(self, urls_of: UrlsOf, method: Method, delay_seconds: float) -> None:
        """The URLs are known; inside a running event loop, once."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._urls_of = urls_of
        self._method = method
        self._delay = delay_seconds
        if self._too_early:
            _log.warning("postback_dropped", times=self._too_early)
        for app_id, values in self._early:
            self._plan(app_id, values, urls_of(app_id))
        self._early.clear()

    def installed(self, body: Mapping[str, Any]) -> None:
        """Hears of an install that was accepted."""
        app_id, values = str(body.get("kochava_app_id")), values_for(body)
        if self._urls_of is not None:
            self._plan(app_id, values, self._urls_of(app_id))
        elif len(self._early) < self._max_waiting:
            self._early.append((app_id, values))
        else:
            self._too_early += 1

    async def stop(self) -> None:
        """Gives up what is under way."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        if self._urls_of is not None:
            await self._session.close()

    def _plan(self, app_id: str, values: Mapping[str, str], urls: Sequence[str]) -> None:
        for url in urls:
            if self.waiting >= self._max_waiting:
                self._drop()
                continue
            task = asyncio.create_task(self._fire(app_id, make_call(url, self._method, values)))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    def _drop(self) -> None:
        if times := self._often.count(self._clock.now(), "dropped"):
            _log.warning("postback_dropped", times=times)

    async def _fire(self, app_id: str, call: Call) -> None:
        wait, why = self._delay, ""
        for _ in range(TRIES):
            await self._clock.wait(self._never, wait)
            async with self._at_once:
                why = await self._try(call)
            if not why:
                return
            wait = RETRY_SECONDS
        # Without the URL: it holds the token, and the ids of a device.
        _log.warning("postback_given_up", app=app_id, tries=TRIES, reason=why)

    async def _try(self, call: Call) -> str:
        """Why it has to be sent again; "" if it need not."""
        form = call.fields if call.method == "post-form" else None
        json = call.fields if call.method == "post-json" else None
        try:
            # The certificate, if there is one, is made out to a public name.
            async with self._session.request(
                call.method.partition("-")[0], call.url, data=form, json=json, ssl=False
            ) as answer:
                return "" if answer.ok else f"status_{answer.status}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return type(error).__name__
