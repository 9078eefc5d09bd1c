"""The helpers of a run (load, sink, ceilings) in processes of their own, each on its core, told
what to do in lines of JSON.

A helper ends when its standard input does: none outlives the run, however that ends.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

#: What a module that can be run as a helper has under the name `commands`: it makes what the
#: process keeps, and answers which commands there are.
Commands = Mapping[str, Callable[..., Awaitable[Any]]]

MAX_LINE: Final = 1 << 28  # bytes of an answer: the arrival times of a long run are one
END_SECONDS: Final = 5.0


class ChildFailed(Exception):
    """A helper could not do what it was told, or has ended."""


class Child:
    """A helper, seen from the run."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    async def call(self, command: str, **given: Any) -> Any:
        """The answer of a command; several may be under way at once.

        Raises:
            ChildFailed: there is none.

        """
        assert self._process.stdin is not None
        if self._reading.done():
            raise ChildFailed(f"{self._name} has ended")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(msgspec.json.encode([number, command, given]) + b"\n")
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def pin(self, cores: Collection[int]) -> None:
        """Moves it to other cores, where the system can do that."""
        pin(self._process.pid, cores)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, failed, result = msgspec.json.decode(line)
            waiting = self._waiting.get(number)
            if waiting is None or waiting.done():
                continue
            if failed:
                waiting.set_exception(ChildFailed(f"{self._name}: {result}"))
            else:
                waiting.set_result(result)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ChildFailed(f"{self._name} has ended"))

    async def end(self) -> None:
        """Lets it end by itself, and ends it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._reading


@asynccontextmanager
async def child(module: str, cores: Collection[int]) -> AsyncIterator[Child]:
    """A helper that runs `module` on these cores until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.child", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
        limit=MAX_LINE,
        start_new_session=True,  # a Ctrl-C is for the run, which ends its helpers itself
    )
    helper = Child(module, process)
    try:
        helper.pin(cores)
        yield helper
    finally:
        await helper.end()


def environment() -> dict[str, str]:
    """In which a process finds this package, wherever it was started."""
    root = str(Path(__file__).parents[1])
    path = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def pin(process: int, cores: Collection[int]) -> None:
    """Keeps a process to some cores. It is measured without, where the system cannot do that."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(process, cores)


async def _serve(commands: Commands) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(number: int, command: str, given: dict[str, Any]) -> None:
        failed, result = False, None
        try:
            result = await commands[command](**given)
        except Exception as error:  # noqa: BLE001  the run is told, whatever it is
            failed, result = True, repr(error)
        sys.stdout.buffer.write(msgspec.json.encode([number, failed, result]) + b"\n")
        sys.stdout.buffer.flush()

    while line := await reader.readline():
        task = asyncio.create_task(answer(*msgspec.json.decode(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def main() -> None:
    uvloop.run(_serve(importlib.import_module(sys.argv[1]).commands()))


if __name__ == "__main__":
    main()
