"""One proof from beginning to end: a sink, a proxy and clients, faults, and the verdict."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tests.end_to_end.processes import Proxy, command, exit_code, running, until, write_config
from tests.proof.faults import GOOD, always, inside
from tests.proof.load import Load
from tests.proof.messages import POISON, SOURCES, make_device
from tests.proof.oracle import History, objections
from tests.proof.sink import Sink, listening

#: The numbers of workers with which every proof is run.
WORKERS = [1, 3]

IN_FLIGHT = 20  # as the config says
TIMEOUT = 2.0  # seconds that the proxy waits for an answer; far more than a good one takes
FAULT_SECONDS = 5.0  # to wait for a fault to come to pass
PATIENCE = 20.0  # seconds; far more than anything here takes
SHOWN = 20  # objections


class Trial:
    """What tests do something to. Every forced end of the process must be told here."""

    def __init__(
        self, sink: Sink, proxy: Proxy, seed: int, workers: int, faults: dict[str, Path]
    ) -> None:
        self.sink = sink
        self.proxy = proxy
        self.workers = workers
        self.chance = random.Random(seed)
        self.load = Load(seed, lambda: proxy.url)
        self.interruptions: list[float] = []
        self._faults = faults

    def interrupted(self) -> None:
        """The process, or one of several, has just been ended by force, or ended by itself."""
        self.interruptions.append(time.monotonic())

    @asynccontextmanager
    async def sending(
        self, messages: int, *, pause: float = 0.0
    ) -> AsyncIterator[asyncio.Task[None]]:
        """While clients send; ends when all is acknowledged."""
        task = asyncio.create_task(self.load.send(messages, pause=pause))
        try:
            yield task
            async with asyncio.timeout(PATIENCE):
                await task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def reaches(self, messages: int) -> None:
        """Returns when so many are acknowledged."""
        await until(lambda: len(self.load.acknowledged) >= messages)

    async def kill(self) -> None:
        """Ends the whole proxy with SIGKILL, and starts it again."""
        assert await self.proxy.end(signal.SIGKILL) == -signal.SIGKILL
        self.interrupted()
        await self.proxy.start()

    async def stand_still(self, seconds: float) -> None:
        """Stops every process for less than the time-out, so that nothing need be repeated."""
        assert self.proxy.process is not None
        processes = [self.proxy.process.pid, *self.proxy.workers().values()]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for process in processes:
                os.kill(process, number)
            if number == signal.SIGSTOP:
                await asyncio.sleep(seconds)

    async def kill_anything(self) -> None:
        """The whole proxy, or where there are several workers one of them as well as not."""
        if self.workers > 1 and self.chance.random() < 0.5:
            await self.kill_worker(self.chance.randrange(self.workers))
        else:
            await self.kill()

    async def kill_worker(self, index: int) -> None:
        victim = self.proxy.workers()[index]
        os.kill(victim, signal.SIGKILL)
        await self.proxy.restarted(index, victim)
        self.interrupted()

    async def end_by(self, *disks: dict[str, Any]) -> list[int]:
        """Runs it with each of these faults of the disk until that has ended it, or one of its
        workers, and at last without; the exit codes. One that does not come to pass is given up.
        """
        assert await self.proxy.end() == 0
        codes = []
        for disk in disks:
            self.proxy.environment = inside(**self._faults, disk=disk)
            process = self.proxy.spawn()
            with suppress(TimeoutError):
                await until(partial(self._has_ended, process), FAULT_SECONDS)
            came_to_pass = self._has_ended(process)
            if process.poll() is None:
                process.terminate()
            codes.append(await exit_code(process))
            if came_to_pass or codes[-1]:
                self.interrupted()
        self.proxy.environment = inside(**self._faults)
        await self.proxy.start()
        return codes

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        self.proxy.listens()  # until then clients cannot find it
        return process.poll() is not None or bool(self.proxy.logged("worker_ended"))

    async def is_refused(self) -> None:
        """Returns when a client was told to wait."""
        before = self.load.refused
        await until(lambda: self.load.refused > before)

    async def holds(self) -> None:
        """Fails with all that the oracle objects to."""
        found = await self.verdict()
        assert not found, "\n".join([*found[:SHOWN], f"{len(found)} in all"])

    async def verdict(self) -> list[str]:
        """What the oracle objects to, once all is settled that will be; the proxy has ended then.

        A fresh message for each source must pass too. From here on the sink answers well.
        """
        self.sink.plan = always(GOOD)
        fresh: dict[str, str] = {}
        while len(fresh) < len(SOURCES):
            device = make_device(self.chance)
            if device.source not in fresh:
                async with asyncio.timeout(PATIENCE):
                    fresh[device.source] = (await self.load.send_one(device)).id
        wanted = {each.id for each in self.load.acknowledged if each.fate == "delivered"}
        with suppress(TimeoutError):  # then the oracle says what is missing
            await until(lambda: wanted <= self.sink.succeeded(), PATIENCE)
            async with asyncio.timeout(PATIENCE):
                while _pending(await self._stats()):
                    pass
        code = await self.proxy.end()
        found = [] if code == 0 else [f"told to end, the proxy ended with {code}"]
        _, letters = await command(
            "dead", "list", "-c", self.proxy.config, "--limit", "999999", "--json"
        )
        dead = [(each["source"], each["message_id"]) for each in json.loads(letters)["dead"]]
        history = History(
            self.load.acknowledged,
            self.sink.requests,
            self.interruptions,
            IN_FLIGHT,
            await self._stats(),
            dead,
        )
        self.proxy.config.with_name("history.json").write_bytes(msgspec.json.encode(history))
        return found + objections(history)

    async def _stats(self) -> dict[str, Any]:
        _, output = await command("stats", "-c", self.proxy.config, "--json")
        stats: dict[str, Any] = json.loads(output)
        return stats


def _pending(stats: dict[str, Any]) -> int:
    return sum(counts["pending"] for counts in stats["sources"].values())


@asynccontextmanager
async def trial(
    folder: Path,
    seed: int,
    workers: int = 1,
    host: str = "127.0.0.1",
    faults: dict[str, Path] | None = None,
    **delivery: float | str,
) -> AsyncIterator[Trial]:
    """A proxy that serves, and calls its sink by the name `host`. `faults` are those that come and
    go with a file, as `tests.proof.inside` names them; `delivery` goes over the settings.
    """
    (folder / "plugins.d").mkdir()
    (folder / "plugins.d" / "poison.py").write_text(POISON)
    async with listening() as sink:
        config = write_config(
            folder,
            f"http://{host}:{sink.port}",
            server={"port": 0, "workers": workers},
            delivery={
                "timeout_seconds": TIMEOUT,
                "retry_base_seconds": 0.05,
                "retry_max_seconds": 0.3,
                "max_concurrency": IN_FLIGHT,
                **delivery,
            },
            sources=SOURCES,
        )
        async with running(config, environment=inside(**faults or {})) as proxy:
            yield Trial(sink, proxy, seed, workers, faults or {})
