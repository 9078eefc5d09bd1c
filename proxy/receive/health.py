"""Whether this process lives, and whether it takes traffic. Neither depends on Kochava: which apps
are in trouble is only told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from proxy.appstate import AppState, WorkerState, together
from proxy.errors import StorageError

#: Why no traffic should come, or None.
NotReady = Callable[[], str | None]
#: The state of every worker; raises StorageError where it cannot be read.
States = Callable[[], Awaitable[Iterable[WorkerState]]]


async def no_states() -> Iterable[WorkerState]:
    return ()


def add_routes(app: web.Application, not_ready: NotReady, states: States = no_states) -> None:
    """`/health/live` is 200 while the loop turns; `/health/ready` is 503 with the reason that
    `not_ready` gives, or 200 with the apps of `states` that are paused or broken.
    """

    async def live(_: web.Request) -> web.Response:
        return _answer(200, "live")

    async def ready(_: web.Request) -> web.Response:
        if reason := not_ready():
            return _answer(503, reason)
        try:
            found = {name: _trouble(each) for name, each in together(await states()).items()}
        except StorageError:  # then there is nothing to tell
            found = {}
        apps = {name: trouble for name, trouble in found.items() if trouble}
        return _answer(200, "ready", **({"apps": apps} if apps else {}))

    app.router.add_get("/health/live", live)
    app.router.add_get("/health/ready", ready)


def _trouble(app: AppState) -> dict[str, str]:
    """Why less is sent to an app than could be; empty if all is well."""
    trouble: dict[str, str] = {}
    if app.paused is not None:
        trouble["paused"] = app.paused
    if app.breaker != "closed":
        trouble["breaker"] = app.breaker
    return trouble


def _answer(status: int, word: str, **more: Any) -> web.Response:
    body = msgspec.json.encode({"status": word, **more})
    return web.Response(status=status, body=body, content_type="application/json")
