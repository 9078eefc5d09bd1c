"""Several workers, each a process: starts them, starts anew what dies or hangs, ends them side by
side.

The supervisor takes the lock on the spool's file and binds the port, and hands both on. It accepts
nothing but what asks the console, and only reads the file, so that there is little in it to fail.
Workers end when it does: each reads a pipe that only the supervisor can write to, and that ends
with it.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from proxy.clock import Clock, SystemClock
from proxy.config import Config
from proxy.console.server import Console
from proxy.errors import StorageBroken, WorkerFailed
from proxy.heartbeat import SILENT_SECONDS, falls_silent, open_heartbeat
from proxy.receive.listener import Listener, bind
from proxy.turns import wait_for_lock
from proxy.worker import DISK_FAILED, READY, Start, Worker, hear, open_pipes

#: Workers need up to 20 s to end by themselves; most supervisors of ours kill after 25 s.
STOP_SECONDS: Final = 22.0
#: One that dies sooner after its start than this is started again with a delay, but the first time.
SHORT_LIFE_SECONDS: Final = 5.0
FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 10.0
MAX_FAILED_STARTS: Final = 5  # in a row, of one worker

_log = structlog.get_logger(room="supervisor")


def worker_count(setting: int) -> int:
    """How many `server.workers` asks for; 0 is one for each core that this process may use."""
    if setting:
        return setting
    if sys.platform == "linux":  # others have no such call
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Delays:
    """How long to wait before a worker is started again, by how long it has lived each time."""

    def __init__(self) -> None:
        self._short_lives = 0

    def after(self, seconds: float) -> float:
        """The delay after a life of so many seconds."""
        if seconds >= SHORT_LIFE_SECONDS:
            self._short_lives = 0
        before, self._short_lives = self._short_lives, self._short_lives + 1
        if not before:
            return 0.0
        return min(FIRST_DELAY_SECONDS * 2.0 ** min(before - 1, 10), LONGEST_DELAY_SECONDS)


class Supervisor:
    """`start`, then `serve` until something asks it to stop: as `proxy.app.App`."""

    def __init__(
        self,
        config: Config,
        base: Path,
        count: int,
        *,
        sandbox: bool = False,
        clock: Clock | None = None,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        """`base` is the folder of the config file; relative paths start there. A worker that says
        nothing for `silent_seconds` is killed.

        Raises:
            ConfigError: the TLS certificate or its key cannot be used.

        """
        Listener(config.server, base)  # said once, and not by each worker
        self._config = _shared(config, count)
        self._base = base
        self._count = count
        self._sandbox = sandbox
        self._clock = clock or SystemClock()
        self._silent_seconds = silent_seconds
        self._console = Console(config, base, self._not_ready, self._clock)
        self._stop = asyncio.Event()
        self._failure: Exception | None = None
        self._processes: dict[int, Process] = {}
        self._ready: set[int] = set()
        self._all_ready = asyncio.Event()
        self._reloads = 0
        self._loud_end = False  # a worker did not end as it should have when told to

    @property
    def port(self) -> int:
        """The port that is listened on, for configs that leave the choice to the system (0)."""
        return int(self._sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Returns when every worker accepts, or one of them cannot be started.

        Raises:
            StorageError: another proxy has the file.
            OSError: the address cannot be listened on.

        """
        self._lock = await wait_for_lock(self._base / self._config.spool.path)
        try:
            self._sockets = await bind(self._config.server)
        except OSError:
            self._lock.close()
            raise
        await self._console.start()
        self._pipes = tuple(open_pipes(self._count))
        self._keepers = [asyncio.create_task(self._keep(index)) for index in range(self._count)]
        for keeper in self._keepers:
            keeper.add_done_callback(self._keeper_ended)
        waits = [asyncio.ensure_future(each.wait()) for each in (self._all_ready, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self._all_ready.is_set():
            host = self._config.server.host
            _log.info("listening", host=host, port=self.port, workers=self._count)

    def reload(self) -> None:
        """Passes SIGHUP on; safe to call from a signal handler."""
        self._reloads += 1
        for index in self._ready:
            self._signal(index, signal.SIGHUP)

    def request_stop(self) -> None:
        """Asks `serve` to end; safe to call from a signal handler, more than once."""
        self._stop.set()

    async def serve(self) -> None:
        """Runs until asked to stop, then lets all workers finish what is in flight.

        Raises:
            StorageBroken: the disk failed one of them.
            WorkerFailed: one could not be started, or did not end well.

        """
        await self._stop.wait()
        _log.info("stopping")
        for listening in self._sockets:
            listening.close()
        for index in self._processes:
            self._signal(index, signal.SIGKILL if self._disk_failed else signal.SIGTERM)
        _, late = await asyncio.wait(self._keepers, timeout=STOP_SECONDS)
        if late:
            for index in self._processes:
                _log.error("worker_killed", worker=index)
                self._signal(index, signal.SIGKILL)
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await self._console.stop()
        for end in (end for pipe in self._pipes for end in pipe):
            os.close(end)
        self._lock.close()
        _log.info("stopped")
        if self._failure:
            raise self._failure
        if self._loud_end:
            raise WorkerFailed("a worker did not end well; the log says which and how")

    def _not_ready(self) -> str | None:
        """Ready is who has a worker that is."""
        if self._stop.is_set():
            return "stopping"
        return None if self._ready else "starting"

    @property
    def _disk_failed(self) -> bool:
        """Then nothing that any worker would write can be trusted: none may acknowledge more."""
        return isinstance(self._failure, StorageBroken)

    async def _keep(self, index: int) -> None:
        """One worker after the other, all with the same index."""
        delays, failed_starts = Delays(), 0
        while not self._stop.is_set():
            began = self._clock.now()
            listening, heartbeat = open_heartbeat()
            process, said = await self._spawn(index, heartbeat)
            if said == READY:
                failed_starts = 0
                self._ready.add(index)
                if len(self._ready) == self._count:
                    self._all_ready.set()
                code = await self._watched(index, process, listening)
            else:
                code = await process.wait()
            os.close(listening)
            self._ready.discard(index)
            del self._processes[index]
            if self._stop.is_set():
                # Before it could listen to signals SIGTERM itself ended it.
                if code not in (0, -signal.SIGTERM) and not self._disk_failed:
                    _log.error("worker_ended", worker=index, how=_how(code))
                    self._loud_end = True
                return
            _log.error("worker_ended", worker=index, how=_how(code))
            reason = said.decode() or _how(code)
            if code == DISK_FAILED:
                self._fail(StorageBroken(f"the disk failed worker {index}; its log says how"))
            elif said != READY:
                failed_starts += 1
                # What it says when nobody has served yet is what one process alone would have said.
                if failed_starts == MAX_FAILED_STARTS or (said and not self._all_ready.is_set()):
                    self._fail(WorkerFailed(f"worker {index} cannot be started: {reason}"))
            await self._clock.wait(self._stop, delays.after(self._clock.now() - began))

    async def _watched(self, index: int, process: Process, heartbeat: int) -> int:
        """The exit code of a worker that serves; one that hangs is killed."""

        async def watch() -> None:
            if await falls_silent(heartbeat, self._silent_seconds, self._clock, self._stop):
                _log.error("worker_silent", worker=index, seconds=self._silent_seconds)
                self._signal(index, signal.SIGKILL)

        watching = asyncio.create_task(watch())
        try:
            return await process.wait()
        finally:
            watching.cancel()

    async def _spawn(self, index: int, heartbeat: int) -> tuple[Process, bytes]:
        """A new process, and what it said once it was ready or was not going to be. `heartbeat` is
        its own from then on.
        """
        reloads = self._reloads
        heard, report = os.pipe()
        sockets = tuple(each.fileno() for each in self._sockets)
        worker = Worker(
            index, self._count, self._lock.fileno(), sockets, self._pipes, report, heartbeat
        )
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # or a `proxy` in the current folder would take the place of this one
                *("-m", "proxy.cli.worker"),
                stdin=PIPE,
                pass_fds=worker.descriptors(),
                # Ctrl-C in a terminal goes to all of a session: it is the supervisor's to pass on.
                start_new_session=True,
            )
        finally:
            os.close(report)
            os.close(heartbeat)
        self._processes[index] = process
        if self._stop.is_set():
            self._signal(index, signal.SIGTERM)
        assert process.stdin is not None  # it is a pipe
        start = Start(self._config, self._base, self._sandbox, worker)
        process.stdin.write(pickle.dumps(start))
        # Not closed: its end says that the supervisor has ended.
        said = await hear(heard)
        if self._reloads > reloads:  # it may have read the files before they were new
            self._signal(index, signal.SIGHUP)
        return process, said

    def _signal(self, index: int, number: signal.Signals) -> None:
        process = self._processes[index]
        if process.returncode is None:
            # `send_signal` would take the exit code of one that has just died away from asyncio.
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        """No file or memory left for another process, say."""
        if not keeper.cancelled() and (error := keeper.exception()):
            self._fail(WorkerFailed(f"a worker cannot be started: {error!r}"))

    def _fail(self, error: Exception) -> None:
        _log.critical("supervisor_failed", error=str(error))
        self._failure = self._failure or error
        self.request_stop()


def _shared(config: Config, count: int) -> Config:
    """The config of one of `count` workers, each of which sends to a share of the devices."""
    share = -(-config.delivery.max_concurrency // count)
    replace = msgspec.structs.replace
    return replace(config, delivery=replace(config.delivery, max_concurrency=share))


def _how(code: int) -> str:
    """An exit code, or the signal that ended a process."""
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
