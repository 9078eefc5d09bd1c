"""Whether this process lives, and whether it takes traffic. Neither depends on Kochava."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

#: Why no traffic should come, or None.
NotReady = Callable[[], str | None]


def add_routes(app: web.Application, not_ready: NotReady) -> None:
    """`/health/live` is 200 while the loop turns; `/health/ready` is 503 with the reason that
    `not_ready` gives, or 200.
    """

    async def live(_: web.Request) -> web.Response:
        return _answer(200, "live")

    async def ready(_: web.Request) -> web.Response:
        reason = not_ready()
        return _answer(503, reason) if reason else _answer(200, "ready")

    app.router.add_get("/health/live", live)
    app.router.add_get("/health/ready", ready)


def _answer(status: int, word: str) -> web.Response:
    body = msgspec.json.encode({"status": word})
    return web.Response(status=status, body=body, content_type="application/json")
