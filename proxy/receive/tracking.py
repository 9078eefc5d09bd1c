"""Segment's Tracking API: what SDKs call in place of api.segment.io.

A 200 is sent when the commit is on the disk, not before. No plugin runs here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from proxy.clock import Clock
from proxy.config import Config
from proxy.decode import TYPES
from proxy.errors import RequestRefused, StorageError
from proxy.receive.address import TrustedProxies
from proxy.receive.body import read_body
from proxy.receive.credentials import Sources, key_from_header
from proxy.receive.intake import (
    MAX_BATCH,
    MAX_MESSAGE,
    Intake,
    key_of_first,
    new_message_id,
    read_batch,
    read_message,
    take_batch,
    take_message,
)
from proxy.receive.replies import refusal, success
from proxy.spool.base import Spool

BATCH_PATHS: Final = ("batch", "import")

_log = structlog.get_logger(room="receive")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TrackingApi:
    """The handlers, with what they need."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        clock: Clock,
        new_id: Callable[[], str] = new_message_id,
    ) -> None:
        self._sources = Sources({source.write_key: source for source in config.sources})
        self._proxies = TrustedProxies(config.server.trusted_proxies)
        self._spool = spool
        self._clock = clock
        self._new_id = new_id

    def add_routes(self, app: web.Application) -> None:
        """Adds every path of the API to `app`."""
        for type_ in sorted(TYPES):
            app.router.add_post(f"/v1/{type_}", self._single(type_))
        for path in BATCH_PATHS:
            app.router.add_post(f"/v1/{path}", self._batch)

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        batch = read_batch(await read_body(request, MAX_BATCH))
        source = self._sources.find(
            key_from_header(request.headers.get("Authorization")),
            batch.write_key,
            key_of_first(batch),
        )
        now, address = self._clock.now(), self._address(request)
        return await self._keep(source, take_batch(batch, source, now, address, self._new_id))

    def _single(self, type_: str) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            raw, key = read_message(await read_body(request, MAX_MESSAGE))
            source = self._sources.find(key_from_header(request.headers.get("Authorization")), key)
            now, address = self._clock.now(), self._address(request)
            intake = take_message(raw, type_, source, now, address, self._new_id)
            return await self._keep(source, intake)

        return handle

    async def _keep(self, source: str, intake: Intake) -> web.StreamResponse:
        await self._spool.append(source, intake.events, intake.rejected)
        return success()

    def _address(self, request: web.Request) -> str | None:
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return self._proxies.client(request.remote, forwarded)


@web.middleware
async def answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal as JSON with a reason; nothing answers 500.

    What goes wrong here is never the client's fault once its request was read, so it gets a 503:
    SDKs keep their data and try again.
    """
    try:
        return await handler(request)
    except RequestRefused as error:
        return refusal(error)
    except StorageError as error:
        _log.error("not_accepted", error=str(error))
        return refusal(RequestRefused(503, "storage_unavailable", "nothing was kept, try again"))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        return refusal(RequestRefused(error.status, code, f"{request.method} {request.path}"))
    except (ConnectionError, TimeoutError):
        raise  # the client has gone
    except Exception:  # noqa: BLE001  a fault of ours must not make clients drop their data
        _log.exception("handler_failed", path=request.path)
        return refusal(RequestRefused(503, "internal_error", "nothing was kept, try again"))
