"""What only browsers need: leave to call another origin, and calls that are made by a GET.

Pixels are images in mails and pages without scripts; JSONP is how analytics.js sends where there
is no CORS. Source: docs, "Pixel Tracking API"; @segment/send-json.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from proxy.decode import TYPES
from proxy.errors import RequestRefused, StorageError
from proxy.occasionally import Occasionally
from proxy.receive.door import Door
from proxy.receive.intake import MAX_MESSAGE
from proxy.receive.replies import success
from proxy.receive.tracking import SINGLE_PATHS, Handler, spellings

#: A transparent GIF of one pixel.
PIXEL: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
#: Of a request: the largest message fits into its URL, as base64 that may be escaped.
MAX_LINE: Final = 64 * 1024
ALLOWED_HEADERS: Final = "Authorization, Content-Type, X-Retry-Count"
ALLOWED_METHODS: Final = "GET, POST, OPTIONS"
DAY: Final = "86400"

_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,63}", re.ASCII)
_MAX_PARTS: Final = 8  # of a dotted name in a pixel's query

_log = structlog.get_logger(room="receive")


@web.middleware
async def allow_origins(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets pages of any origin call, and read the answer.

    The origin is echoed, since "*" does not count where a page sends credentials. There is nothing
    here that a cookie would open: whoever has the write key may write, whatever page it is on.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return await handler(request)
    preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    response = web.Response(status=204) if preflight else await handler(request)
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers["Access-Control-Expose-Headers"] = "Retry-After"
    response.headers["Vary"] = "Origin"
    if preflight:
        response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
        response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = DAY
    return response


class BrowserApi:
    """The handlers of GET requests."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._occasionally = Occasionally()

    def add_routes(self, app: web.Application) -> None:
        """Adds the pixels, and the single calls by GET."""
        for path in spellings("pixel/{type}"):
            app.router.add_get(path, self._pixel)
        for name, type_ in SINGLE_PATHS.items():
            for path in spellings(name):
                app.router.add_get(path, self._jsonp(type_))

    async def _pixel(self, request: web.Request) -> web.StreamResponse:
        """Always the image: a broken one in a mail helps nobody, and none is ever sent again."""
        try:
            type_ = request.match_info["type"]
            if type_ not in TYPES:
                raise RequestRefused(404, "not_found", "there is no such pixel")
            await self._keep(request, type_)
        except (RequestRefused, StorageError) as error:
            if times := self._occasionally.count(self._door.clock.now(), str(error)):
                _log.warning("pixel_not_kept", error=str(error), times=times)
        except Exception:  # noqa: BLE001  the image is due even where the fault is ours
            _log.exception("handler_failed", route="pixel")
        return web.Response(
            body=PIXEL, content_type="image/gif", headers={"Cache-Control": "no-store"}
        )

    def _jsonp(self, type_: str) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            callback = request.query.get("callback")
            if callback is not None and not _CALLBACK.fullmatch(callback):
                raise RequestRefused(400, "bad_request", "callback is not the name of a function")
            await self._keep(request, type_)
            if callback is None:
                return success()
            # The comment keeps what comes before it from being read as something else (Flash).
            return web.Response(
                text=f'/**/{callback}({{"success": true}});',
                content_type="application/javascript",
                headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
            )

        return handle

    async def _keep(self, request: web.Request, type_: str) -> None:
        if request.method == "HEAD":  # somebody looks where a link leads
            return
        self._door.room()
        await self._door.keep_message(request, type_, _message(request))


def _message(request: web.Request) -> bytes:
    """The message of a query: whole in `data`, or a part in each parameter."""
    data = request.query.get("data")
    if data is None:
        return _from_parts(request)
    # Both alphabets occur; "+" arrives as a space, and padding may be missing.
    encoded = data.strip().replace(" ", "-").replace("+", "-").replace("/", "_").rstrip("=")
    try:
        raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError as error:
        raise RequestRefused(400, "bad_request", f"data is not base64: {error}") from None
    if len(raw) > MAX_MESSAGE:
        raise RequestRefused(400, "payload_too_large", f"more than {MAX_MESSAGE} bytes")
    return raw


def _from_parts(request: web.Request) -> bytes:
    """`properties.subject=x` as {"properties": {"subject": "x"}}; every value is a string. Of
    parameters that contradict each other the first counts.
    """
    message: dict[str, Any] = {}
    for name, value in request.query.items():
        *parents, last = name.split(".", _MAX_PARTS)
        level = message
        for parent in parents:
            inner = level.setdefault(parent, {})
            if not isinstance(inner, dict):
                break
            level = inner
        else:
            level.setdefault(last, value)
    return msgspec.json.encode(message)
