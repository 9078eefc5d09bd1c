"""What aiohttp's server would do with odd clients, done otherwise.

By itself it writes a traceback into the log for every request that is no HTTP, and answers in text
to an expectation that it does not know (with 500, should that be no text either).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.errors import RequestRefused
from proxy.occasionally import Occasionally
from proxy.receive.replies import refusal

#: The client's doing, which anybody may cause as often as they like.
CLIENTS_FAULTS: Final = (HttpProcessingError, ConnectionError)

_log = structlog.get_logger(room="receive")

_Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class Runner(web.AppRunner):
    """Refuses in JSON to meet expectations, and keeps clients from filling the log."""

    def __init__(self, app: web.Application, **settings: Any) -> None:
        super().__init__(app, access_log=None, logger=server_log(), **settings)

    async def setup(self) -> None:
        await super().setup()
        server = self.server
        assert server is not None  # it is set up
        server.request_handler = _expecting_nothing(server.request_handler)


def _expecting_nothing(handler: _Handler) -> _Handler:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        expected = request.headers.get("Expect", "").lower()
        if expected in ("", "100-continue") or request.version != HttpVersion11:
            return await handler(request)
        return refusal(
            RequestRefused(417, "expectation_failed", "only 100-continue can be expected")
        )

    return handle


def server_log() -> logging.Logger:
    """Hands on what the server says, in the form of all other logs."""
    logger = logging.getLogger("kochava-proxy.server")
    logger.propagate = False
    logger.handlers = [_Handover()]
    return logger


class _Handover(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._occasionally = Occasionally()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, CLIENTS_FAULTS):
            _log.error("server_failed", what=record.msg, exc_info=error)
            return
        # Not its text: that quotes the request, key and all.
        kind = type(error).__name__
        if times := self._occasionally.count(time.monotonic(), kind):
            _log.warning("bad_http", error=kind, times=times)
