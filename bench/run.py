"""A run: round after round, each with every row, so that a ratio is of one stretch of time."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Final

import msgspec

from bench.child import Child, ChildFailed, child
from bench.figures import Row, Skipped, measured
from bench.proxyprocess import ProxyFailed
from bench.report import IN_MEMORY, Report, file_system, this_machine
from bench.rows import ROWS
from bench.sizes import FULL, QUICK, Sizes
from bench.stage import Stage, find_cores

ROW_SECONDS: Final = 300.0  # after which a row has failed

Say = Callable[[str], None]


class Options(msgspec.Struct, frozen=True):
    """`only` are names of rows (none: all), `rounds` 0 as many as usual, `folder` where the files
    of the run are put, "" where the system puts such.
    """

    quick: bool = False
    rounds: int = 0
    only: tuple[str, ...] = ()
    folder: str = ""


def chosen(only: Sequence[str]) -> list[Row]:
    """These rows and those that they need, in order; all, if none are named."""
    wanted = set(only or (row.name for row in ROWS))
    for row in reversed(ROWS):  # a row needs only earlier ones
        if row.name in wanted:
            wanted.update(row.needs)
    return [row for row in ROWS if row.name in wanted]


def a_folder(given: str) -> Path:
    """For the files of a run: on a disk, if the usual place is not but this one is."""
    usual = Path(tempfile.gettempdir())
    on_disk = file_system(usual) not in IN_MEMORY
    return Path(tempfile.mkdtemp(prefix="bench-", dir=given or (usual if on_disk else Path())))


class Run:
    """What has been measured so far."""

    def __init__(self, options: Options, sizes: Sizes, say: Say) -> None:
        self._rows = chosen(options.only)
        self._options = options
        self._sizes = sizes
        self._say = say
        self._found: list[dict[str, float]] = []
        self._skipped: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._began = time.monotonic()

    async def rounds(self, stage: Stage) -> None:
        """All of them, or as many as there is time for."""
        rounds = self._options.rounds or self._sizes.rounds
        for number in range(1, rounds + 1):
            began = time.monotonic()
            stage.figures, stage.once_seconds = {}, 0.0
            for row in self._rows:
                if number == 1 or not (row.once or row.name in self._skipped):
                    self._say(f"round {number} of {rounds}: {row.title}")
                    await self._measure(row, stage)
            self._found.append(stage.figures)
            now = time.monotonic()
            another = now - began - stage.once_seconds
            if self._options.rounds or number == rounds:
                continue
            if now - self._began + another > self._sizes.budget:
                stage.notes["rounds"] = f"{number} instead of {rounds}, for want of time"
                break

    async def _measure(self, row: Row, stage: Stage) -> None:
        try:
            async with asyncio.timeout(ROW_SECONDS):
                with stage.once() if row.once else nullcontext():
                    stage.figures.update(await row.measure(stage))
        except Skipped as reason:
            self._skipped[row.name] = " ".join(str(reason).split())
        except (ChildFailed, ProxyFailed) as error:
            self._failed[row.name] = str(error)
        except KeyError as missing:  # of what it needs
            self._failed[row.name] = f"without {missing}"
        except TimeoutError:
            self._failed[row.name] = f"not done after {ROW_SECONDS:.0f} s"

    def report(self, stage: Stage) -> Report:
        figures = [
            found
            for row in self._rows
            for figure in row.figures
            if (found := measured(row.name, figure, self._found)) is not None
        ]
        return Report(
            machine=this_machine(stage.folder, stage.cores.every),
            quick=self._options.quick,
            rounds=len(self._found),
            seconds=time.monotonic() - self._began,
            figures=figures,
            notes=dict(stage.notes),
            skipped=self._skipped,
            failed=self._failed,
        )


async def run(options: Options, say: Say) -> Report:
    """Measures; `say` is told what is being done."""
    sizes = QUICK if options.quick else FULL
    cores, folder = find_cores(), a_folder(options.folder)
    try:
        async with AsyncExitStack() as stack:
            sink: Child = await stack.enter_async_context(child("bench.sink", cores.sink))
            load: Child = await stack.enter_async_context(child("bench.load", cores.load))
            stage = Stage(folder, cores, sizes, sink, load, await sink.call("listen"))
            this = Run(options, sizes, say)
            await this.rounds(stage)
            return this.report(stage)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_to_the_end(options: Options, say: Say) -> Report:
    """As `run`; a SIGTERM ends it as Ctrl-C does, with nothing left behind.

    Raises:
        KeyboardInterrupt: it was ended.

    """

    async def guarded() -> Report:
        running = asyncio.current_task()
        assert running is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        return await run(options, say)

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
