"""The console's port: metrics and health checks, until the page itself stands.

A console that cannot listen keeps nobody from delivering (docs/decisions/0029-console-port.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import structlog
from aiohttp import web

from proxy.appstate import WorkerState
from proxy.clock import Clock
from proxy.config import Config
from proxy.errors import StorageError
from proxy.observe.metrics import CONTENT_TYPE, exposition
from proxy.observe.snapshot import SnapshotReader, read_workers
from proxy.occasionally import Occasionally
from proxy.receive import health
from proxy.receive.protocol import Runner

SHUTDOWN_SECONDS: Final = 1.0

_log = structlog.get_logger(room="console")


class Console:
    """Serves on `console.host` and `console.port` from `start` until `stop`; with an empty host it
    does nothing.
    """

    def __init__(
        self, config: Config, base: Path, not_ready: health.NotReady, clock: Clock
    ) -> None:
        """`base` is the folder of the config file; relative paths start there."""
        self._settings = config.console
        self._path = base / config.spool.path
        self._clock = clock
        self._reader = SnapshotReader(self._path, [source.name for source in config.sources])
        self._one_by_one = asyncio.Lock()
        self._occasionally = Occasionally()
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        health.add_routes(app, not_ready, self._states)
        app.router.add_get("/", _no_page)
        app.router.add_route("*", "/{path:.*}", _nothing)
        self._runner = Runner(app, shutdown_timeout=SHUTDOWN_SECONDS)

    @property
    def port(self) -> int | None:
        """The port that is listened on, None if there is none."""
        return int(self._runner.addresses[0][1]) if self._runner.addresses else None

    async def start(self) -> None:
        """Begins to listen, or logs why it cannot."""
        host, port = self._settings.host, self._settings.port
        if not host:
            return
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            mend = "give console.port a number of its own; without it there are no metrics"
            _log.error("console_not_listening", host=host, port=port, error=str(error), mend=mend)
        else:
            _log.info("console_listening", host=host, port=self.port)

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        try:
            async with self._one_by_one:
                text = await asyncio.to_thread(self._expose, self._clock.now())
        except StorageError as error:
            if times := self._occasionally.count(self._clock.now(), "metrics"):
                _log.error("metrics_not_read", error=str(error), times=times)
            return _refusal(503, "not_read", "the file cannot be read now")
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    def _expose(self, now: float) -> bytes:
        return exposition(self._reader.read(now))

    async def _states(self) -> Iterable[WorkerState]:
        return await asyncio.to_thread(read_workers, self._path, self._clock.now())


async def _no_page(_: web.Request) -> web.Response:
    message = "the console's page is not available in this version; see /metrics"
    return _refusal(404, "not_available", message)


async def _nothing(_: web.Request) -> web.Response:
    return _refusal(404, "not_found", "there is nothing here but /metrics and /health")


def _refusal(status: int, code: str, message: str) -> web.Response:
    body = {"success": False, "code": code, "message": message}
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )
