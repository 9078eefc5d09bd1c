"""One worker: a module that the supervisor runs, not a command for people."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import threading
import time
from typing import Final

import structlog
import uvloop

from proxy.app import App
from proxy.cli.process import freeze_memory, share_interpreter
from proxy.errors import ConfigError, StorageBroken, StorageError
from proxy.heartbeat import beat
from proxy.mapping.plugins import load_plugins
from proxy.observe.logs import configure_logs
from proxy.worker import DISK_FAILED, READY, Start

#: For requests in flight once the supervisor has gone: a new one may be waiting for the file.
ORPHAN_SECONDS: Final = 2.0

_log = structlog.get_logger(room="worker")


def main() -> int:
    """Serves until told to stop, or until the supervisor has gone. The exit code."""
    start: Start = pickle.load(sys.stdin.buffer)  # noqa: S301  only the supervisor can write to it
    worker = start.worker
    share_interpreter()
    worker.keep_to_itself()
    configure_logs(worker=worker.index)
    try:
        return uvloop.run(_run(start))
    except StorageBroken:
        return DISK_FAILED  # the log has it


async def _run(start: Start) -> int:
    loop = asyncio.get_running_loop()
    beating = asyncio.create_task(beat(start.worker.heartbeat))
    try:
        plugins = load_plugins(start.config, start.base)
        app = App(start.config, start.base, plugins, sandbox=start.sandbox, worker=start.worker)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, app.request_stop)
        loop.add_signal_handler(signal.SIGHUP, app.reload)
        threading.Thread(target=_end_with_supervisor, args=(loop, app), daemon=True).start()
        await app.start()
        freeze_memory()
    except (ConfigError, StorageError, OSError) as error:
        start.worker.say(str(error).encode())
        return 1
    start.worker.say(READY)
    await app.serve()
    beating.cancel()
    return 0


def _end_with_supervisor(loop: asyncio.AbstractEventLoop, app: App) -> None:
    """In a thread, since a plugin that hangs must not keep an orphan alive."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    _log.warning("supervisor_gone")
    loop.call_soon_threadsafe(app.request_stop)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)  # as safe as any crash


if __name__ == "__main__":
    sys.exit(main())
