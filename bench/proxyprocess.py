"""The product as it is run: `kochava-proxy run` on a config of its own, seen through /proc."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bench.child import environment, pin
from bench.settings import write

START_SECONDS: Final = 60.0  # with a million events on the disk
STOP_SECONDS: Final = 40.0
LOOK_SECONDS: Final = 0.02
#: As the console script does; that need not be on the path, nor beside the interpreter. Linux ends
#: it (PR_SET_PDEATHSIG) with a run that is killed and can end nothing itself.
SCRIPT: Final = """
import ctypes, signal, sys
from proxy.cli.main import main
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
main()
"""
COMMAND: Final = (sys.executable, "-c", SCRIPT, "run", "-c")


class ProxyFailed(Exception):
    """It did not start, or ended by itself; with the end of its log."""


class ProxyProcess:
    """One that runs."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.port = 0

    async def ready(self) -> None:
        """Returns when it takes traffic."""
        async with asyncio.timeout(START_SECONDS):
            while not self._listens() or not await self._answers():
                if self._process.returncode is not None:
                    raise ProxyFailed(self.last_words())
                await asyncio.sleep(LOOK_SECONDS)

    def _listens(self) -> bool:
        for line in self._log.read_bytes().splitlines():
            if b'"listening"' in line and line.endswith(b"}"):
                self.port = json.loads(line)["port"]
        return self.port > 0

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"GET /health/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
        finally:
            writer.close()

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2_000:]

    def family(self) -> list[int]:
        """Its process and all below it. (Not every kernel lists the children of a process.)"""
        parents: dict[int, int] = {}
        for file in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended meanwhile
                parents[int(file.parent.name)] = int(_stat(file)[1])
        found = [self._process.pid]
        for process in found:
            found += [child for child, parent in parents.items() if parent == process]
        return found

    def cpu_seconds(self) -> float:
        """What all of it has used so far; nought where there is no /proc."""
        ticks = 0
        for process in self.family():
            with suppress(OSError):
                fields = _stat(Path(f"/proc/{process}/stat"))
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_megabytes(self) -> float:
        """The most that each of its processes had in memory, together."""
        kilobytes = 0
        for process in self.family():
            with suppress(OSError):
                for line in Path(f"/proc/{process}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        kilobytes += int(line.split()[1])
        return kilobytes / 1_000

    async def stop(self) -> None:
        """As an operator would; by force if it does not end."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        finally:
            with suppress(ProcessLookupError):  # its session is its own: workers are in it too
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


def _stat(file: Path) -> list[str]:
    """The fields behind the name, which may hold anything."""
    return file.read_text().rpartition(")")[2].split()


@asynccontextmanager
async def running(
    folder: Path, settings: dict[str, Any], cores: Collection[int], **variables: str
) -> AsyncIterator[ProxyProcess]:
    """A proxy that is ready, until the block ends; its files stay in `folder`."""
    config, log = write(folder, settings), folder / "log.txt"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            str(config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment() | variables,
            start_new_session=True,
        )
    proxy = ProxyProcess(process, log)
    try:
        pin(process.pid, cores)
        await proxy.ready()
        yield proxy
        if process.returncode is not None:
            raise ProxyFailed(proxy.last_words())
    finally:
        await proxy.stop()
