"""START HERE. Builds the parts from the config and wires them in the order of the flow:

    receive -> spool -> (lease) -> pipeline: decode, plugins, encode -> forwarder -> spool (settle)

Nothing below this module knows more than its own part; docs/architecture.md shows the whole.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from proxy.clock import Chance, Clock, SystemClock, system_chance
from proxy.config import Config
from proxy.database import Database
from proxy.deliver.encode import Encoder
from proxy.deliver.forwarder import Forwarder
from proxy.deliver.transport import AiohttpTransport
from proxy.errors import ConfigError, StorageBroken, StorageError
from proxy.identities import known
from proxy.mapping.observers import PluginObservers
from proxy.mapping.plugins import Plugins
from proxy.pipeline import Pipeline
from proxy.receive import health, openapi
from proxy.receive.browser import MAX_LINE, BrowserApi, allow_origins
from proxy.receive.door import Door
from proxy.receive.listener import IDLE_SECONDS, Listener
from proxy.receive.protocol import Runner
from proxy.receive.settings import SettingsApi
from proxy.receive.tracking import TrackingApi, answer_in_json
from proxy.receive.webhook import WebhookApi
from proxy.spool import purpose, sqlite

#: Together under 25 s, after which most supervisors kill.
REQUEST_GRACE_SECONDS: Final = 5.0
DELIVERY_GRACE_SECONDS: Final = 15.0

_log = structlog.get_logger(room="app")


class App:
    """A running proxy: `start`, then `serve` until something asks it to `stop`."""

    def __init__(
        self,
        config: Config,
        base: Path,
        plugins: Plugins,
        *,
        sandbox: bool = False,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        """`base` is the folder of the config file; relative paths start there. `sandbox` says
        that the config points at one.

        Raises:
            ConfigError: the TLS certificate or its key cannot be used.

        """
        self._config = config
        self._base = base
        self._plugins = plugins
        self._sandbox = sandbox
        self._listener = Listener(config.server, base)
        self._clock = clock or SystemClock()
        self._chance = chance or system_chance()
        self._stop = asyncio.Event()
        self._not_ready: str | None = "starting"
        self._failure: BaseException | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, for configs that leave the choice to the system (0)."""
        return self._listener.port

    async def start(self) -> None:
        """Opens the spool, begins to deliver what it holds, then begins to listen.

        Raises:
            StorageError: the file cannot be used.
            OSError: the address cannot be listened on.

        """
        config = self._config
        schemas = (sqlite.SCHEMA, known.SCHEMA)
        path = self._base / config.spool.path
        self._database = Database(path, schemas, on_broken=self._broken)
        try:
            await self._database.write(partial(purpose.claim, sandbox=self._sandbox))
        except StorageError as error:
            await self._database.close()
            raise StorageError(f"{path}: {error}") from None
        dedup_seconds = config.delivery.dedup_window_hours * 3_600
        spool = sqlite.SqliteSpool(self._database, self._clock, dedup_seconds)
        devices = known.KnownDevices(self._database.read, self._database.write, self._clock)
        sources = {source.name: source.public() for source in config.sources}
        pipeline = Pipeline(self._plugins, sources, devices, Encoder(config))
        self._transport = AiohttpTransport(
            config.delivery.timeout_seconds, config.delivery.max_concurrency
        )
        self._forwarder = Forwarder(
            spool,
            pipeline.prepare,
            self._transport,
            PluginObservers(self._plugins),
            config.delivery,
            self._clock,
            self._chance,
        )
        self._forwarding = asyncio.create_task(self._forwarder.run())
        self._forwarding.add_done_callback(self._forwarding_ended)
        self._runner = build_runner(config, Door(config, spool, self._clock), self._ready)
        try:
            await self._runner.setup()
            await self._listener.start(self._runner)
        except OSError:
            await self._close()
            raise
        self._not_ready = None
        _log.info("listening", host=config.server.host, port=self.port)

    def _ready(self) -> str | None:
        return self._not_ready

    def reload(self) -> None:
        """Takes a new certificate, if there is one; safe to call from a signal handler."""
        if not self._config.server.tls_certificate:
            return
        try:
            self._listener.load_certificate()
        except ConfigError as error:
            _log.error("certificate_not_loaded", error=str(error))
        else:
            _log.info("certificate_loaded")

    def request_stop(self) -> None:
        """Asks `serve` to end; safe to call from a signal handler, more than once."""
        self._not_ready = "stopping"
        self._stop.set()

    async def serve(self) -> None:
        """Runs until asked to stop, then finishes what is in flight.

        Raises:
            BaseException: what made it impossible to go on; the process should exit non-zero.

        """
        await self._stop.wait()
        _log.info("stopping")
        await self._close()
        _log.info("stopped")
        if self._failure is not None:
            raise self._failure

    async def _close(self) -> None:
        self._not_ready = "stopping"
        self._listener.close()
        await self._runner.cleanup()
        await self._forwarder.stop(DELIVERY_GRACE_SECONDS)
        await asyncio.gather(self._forwarding, return_exceptions=True)
        await self._transport.close()
        await self._database.close()

    def _broken(self, error: StorageBroken) -> None:
        _log.critical("storage_broken", error=str(error))
        self._failure = self._failure or error
        self.request_stop()

    def _forwarding_ended(self, task: asyncio.Task[None]) -> None:
        """A forwarder that died must not leave a proxy that takes and never sends."""
        if task.cancelled() or task.exception() is None:
            return
        _log.critical("forwarder_failed", error=repr(task.exception()))
        self._failure = self._failure or task.exception()
        self.request_stop()


def build_runner(
    config: Config, door: Door, not_ready: health.NotReady, idle_seconds: float = IDLE_SECONDS
) -> web.AppRunner:
    """Everything that is served, not yet listening."""
    app = web.Application(middlewares=[allow_origins, answer_in_json])
    TrackingApi(door).add_routes(app)
    BrowserApi(door).add_routes(app)
    SettingsApi(door, config.server.public_url).add_routes(app)
    WebhookApi(door, config).add_routes(app)
    openapi.add_routes(app)
    health.add_routes(app, not_ready)
    return Runner(
        app,
        auto_decompress=False,  # receive/body.py inflates, within its limit
        keepalive_timeout=idle_seconds,
        max_line_size=MAX_LINE,
        shutdown_timeout=REQUEST_GRACE_SECONDS,
    )
