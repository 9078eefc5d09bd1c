"""START HERE. Builds the parts from the config and wires them in the order of the flow:

    receive -> spool -> (lease) -> pipeline: decode, plugins, encode -> forwarder -> spool (settle)

Nothing below this module knows more than its own part; docs/architecture.md shows the whole.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web

from proxy.appstate import WorkerState
from proxy.clock import Chance, Clock, SystemClock, system_chance
from proxy.config import Config
from proxy.console.server import Console
from proxy.database import Database
from proxy.deliver.delivery import segment_app
from proxy.deliver.forwarder import Forwarder
from proxy.deliver.transports import ca_file, make_transport
from proxy.errors import ConfigError, StorageBroken, StorageError
from proxy.identities import known
from proxy.mapping.observers import PluginObservers
from proxy.mapping.plugins import Plugins
from proxy.observe import published
from proxy.observe.published import Publisher
from proxy.pipeline import Pipeline
from proxy.receive import health, openapi
from proxy.receive.browser import MAX_LINE, BrowserApi, allow_origins
from proxy.receive.door import Door
from proxy.receive.listener import IDLE_SECONDS, Listener
from proxy.receive.postbacks import PostbackApi
from proxy.receive.protocol import Runner
from proxy.receive.settings import SettingsApi
from proxy.receive.tracking import TrackingApi, answer_in_json
from proxy.receive.webhook import WebhookApi
from proxy.spool import purpose, schema
from proxy.spool.base import Part
from proxy.spool.migrate import MIGRATIONS
from proxy.spool.sqlite import SqliteSpool
from proxy.turns import wait_for_lock
from proxy.worker import Worker

#: Together under 25 s, after which most supervisors kill.
REQUEST_GRACE_SECONDS: Final = 5.0
DELIVERY_GRACE_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 1.0  # between looks for what other programs put into the queue

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
        worker: Worker | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        """`base` is the folder of the config file; relative paths start there. `sandbox` says
        that the config points at one. `worker` says which of several processes this is.

        Raises:
            ConfigError: the TLS certificate or its key, or the authorities, cannot be used.

        """
        self._config = config
        self._base = base
        self._plugins = plugins
        self._sandbox = sandbox
        self._worker = worker
        self._listener = Listener(config.server, base)
        ca_file(config.delivery, base)  # looked at before anything is opened
        self._clock = clock or SystemClock()
        self._started_at = self._clock.now()
        # Of several workers the supervisor has it.
        self._console = None if worker else Console(config, base, self._ready, self._clock)
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
        schemas = (schema.SCHEMA, known.SCHEMA, published.SCHEMA)
        path = self._base / config.spool.path
        worker = self._worker
        lock = worker.open_lock() if worker else await wait_for_lock(path)
        self._database = Database(
            path,
            schemas,
            on_broken=self._broken,
            lock=lock,
            migrations=MIGRATIONS,
            reserve_bytes=int(config.spool.reserve_megabytes * 1_000_000),
        )
        try:
            await self._database.write(partial(purpose.claim, sandbox=self._sandbox))
        except StorageError as error:
            await self._database.close()
            raise StorageError(f"{path}: {error}") from None
        dedup_seconds = config.delivery.dedup_window_hours * 3_600
        bulk_age_seconds = config.delivery.bulk_age_hours * 3_600
        self._spool = spool = SqliteSpool(
            self._database,
            self._clock,
            dedup_seconds,
            bulk_age_seconds,
            part=Part(worker.index, worker.count) if worker else Part(),
            wake=self._wake,
        )
        devices = known.KnownDevices(
            self._database.read,
            self._database,
            self._clock,
            config.identities,
            shared=worker is not None,
        )
        pipeline = Pipeline(self._plugins, config, devices, self._clock)
        self._transport = make_transport(config.delivery, self._base)
        self._forwarder = Forwarder(
            spool,
            pipeline.prepare,
            self._transport,
            PluginObservers(self._plugins),
            config.delivery,
            self._clock,
            self._chance,
            _apps(config),
        )
        self._forwarding = asyncio.gather(self._forwarder.run(), self._look(spool, devices))
        self._forwarding.add_done_callback(self._forwarding_ended)
        self._publisher = Publisher(self._database.write, self._state, self._clock)
        self._publishing = asyncio.create_task(self._publisher.run())
        self._runner = build_runner(
            config, Door(config, spool, self._clock), self._ready, states=self._states
        )
        try:
            await self._runner.setup()
            await self._listener.start(self._runner, worker.open_sockets() if worker else ())
        except OSError:
            await self._close()
            raise
        self._not_ready = None
        if self._console:
            await self._console.start()
        if worker:
            asyncio.get_running_loop().add_reader(worker.woken, self._heard)
            _log.info("worker_ready", pid=os.getpid())
        else:
            _log.info("listening", host=config.server.host, port=self.port)

    def _ready(self) -> str | None:
        return self._not_ready

    def _state(self) -> WorkerState:
        """What this process knows of its apps."""
        index = self._worker.index if self._worker else 0
        apps = self._forwarder.states()
        return WorkerState(index, os.getpid(), self._started_at, self._clock.now(), apps)

    async def _states(self) -> Iterable[WorkerState]:
        """What all of them do."""
        return published.read_states(self._database.read, self._clock.now())

    def _wake(self, index: int) -> None:
        """There is news for another worker: an event for one of its devices, say."""
        if self._worker:
            self._worker.wake(index)

    def _heard(self) -> None:
        """Another worker has news for this one."""
        if self._worker:
            self._worker.heard()
            self._spool.heard()

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
        self.request_stop()
        self._listener.close()
        if self._console:
            await self._console.stop()
        await self._runner.cleanup()
        # What becomes of a delivery could not be written down on a disk that failed.
        await self._forwarder.stop(0 if self._failure else DELIVERY_GRACE_SECONDS)
        self._publisher.stop()
        await asyncio.gather(self._forwarding, self._publishing, return_exceptions=True)
        await self._transport.close()
        await self._database.close()

    def _broken(self, error: StorageBroken) -> None:
        _log.critical("storage_broken", error=str(error))
        self._failure = self._failure or error
        self.request_stop()

    async def _look(self, spool: SqliteSpool, devices: known.KnownDevices) -> None:
        """For what nobody tells: events from `dead replay`, a clock that was set back, devices
        that have become too old.
        """
        while not self._stop.is_set():
            await self._clock.wait(self._stop, LOOK_SECONDS)
            spool.look()
            devices.prune()

    def _forwarding_ended(self, task: asyncio.Future[Any]) -> None:
        """A forwarder that died must not leave a proxy that takes and never sends."""
        if task.cancelled() or task.exception() is None:
            return
        _log.critical("forwarder_failed", error=repr(task.exception()))
        self._failure = self._failure or task.exception()
        self.request_stop()


def _apps(config: Config) -> set[str]:
    """All that events may be for, as far as the config names them."""
    return {app for source in config.sources for app in source.app_ids} | {
        segment_app(source.name) for source in config.sources if source.postback_token
    }


def build_runner(
    config: Config,
    door: Door,
    not_ready: health.NotReady,
    idle_seconds: float = IDLE_SECONDS,
    states: health.States = health.no_states,
) -> web.AppRunner:
    """Everything that is served, not yet listening."""
    app = web.Application(middlewares=[allow_origins, answer_in_json])
    TrackingApi(door).add_routes(app)
    BrowserApi(door).add_routes(app)
    SettingsApi(door, config.server.public_url).add_routes(app)
    WebhookApi(door, config).add_routes(app)
    PostbackApi(door, config).add_routes(app)
    openapi.add_routes(app)
    health.add_routes(app, not_ready, states)
    return Runner(
        app,
        auto_decompress=False,  # receive/body.py inflates, within its limit
        keepalive_timeout=idle_seconds,
        max_line_size=MAX_LINE,
        shutdown_timeout=REQUEST_GRACE_SECONDS,
    )
