"""Steady load for as long as you like, and nothing may grow: `make soak MINUTES=60`.

Kochava fails now and then. Every few seconds it looks at all processes of the proxy and at the
spool's files, and prints a line. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import msgspec

from tests.proof.faults import DOWN, ERROR, RESET_AFTER_READING, Mixed, busy
from tests.proof.load import Load
from tests.proof.oracle import Fate
from tests.proof.trial import Trial, trial

CALLS_PAUSE = 0.05  # seconds between the calls of a client
SAMPLE_SECONDS = 5.0
SAMPLES = 40  # at least, however short it is
DEVICES = 250  # of each client
DEDUP_HOURS = 0.01  # the window is full after its first minute
FATES: Mapping[Fate, float] = {"delivered": 95, "filtered": 5}


class Sample(msgspec.Struct, frozen=True):
    """Of all processes together; in megabytes what is not a number of things."""

    memory: float
    descriptors: float
    threads: float
    files: float

    def __str__(self) -> str:
        return "  ".join(
            f"{name} {value:.1f}" for name, value in msgspec.structs.asdict(self).items()
        )


#: What each may grow by: a part of what it was, and a little.
SLACK = {
    "memory": (0.10, 5.0),
    "descriptors": (0.10, 10.0),
    "threads": (0.0, 2.0),
    "files": (0.25, 20.0),  # the WAL takes 16 MB before it begins anew
}


def growth(samples: Sequence[Sample]) -> list[str]:
    """What grew from the second quarter (the first is for warming up) to the last."""
    quarter = len(samples) // 4
    found = []
    for name, (part, little) in SLACK.items():
        values = [getattr(sample, name) for sample in samples]
        before, after = median(values[quarter : 2 * quarter]), median(values[-quarter:])
        if after > before * (1 + part) + little:
            found.append(f"{name} grew from {before:.1f} to {after:.1f}")
    return found


def take_sample(root: int, spool: Path) -> Sample:
    """Of a process and all below it, and of the files whose names begin as that of the spool."""
    processes = [Path("/proc") / str(process) for process in _family(root)]
    pages = sum(int((each / "statm").read_text().split()[1]) for each in processes)
    threads = sum(len(list((each / "task").iterdir())) for each in processes)
    descriptors = sum(len(list((each / "fd").iterdir())) for each in processes)
    size = sum(file.stat().st_blocks * 512 for file in spool.parent.glob(spool.name + "*"))
    page = 4_096 / 1e6  # of x86-64 and, as most are set up, of arm64
    return Sample(pages * page, descriptors, threads, size / 1e6)


def _family(root: int) -> list[int]:
    """A process and all below it. (Not every kernel lists the children of a process.)"""
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            _, _, rest = file.read_text().rpartition(")")  # a name may hold anything
            parents[int(file.parent.name)] = int(rest.split()[1])
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


async def soak(folder: Path, minutes: float, workers: int) -> list[str]:
    """What grew."""
    async with trial(folder, 1, workers, dedup_window_hours=DEDUP_HOURS) as proof:
        # What dies is kept, as is what is known of a device: neither may be counted as growth.
        proof.load = Load(1, lambda: proof.proxy.url, hot=DEVICES, cold=0.0, fates=FATES)
        proof.sink.plan = Mixed(proof.chance, 5, [DOWN, ERROR, RESET_AFTER_READING, busy("1")])
        sending = asyncio.create_task(proof.load.send(sys.maxsize, pause=CALLS_PAUSE))
        try:
            samples = [sample async for sample in _watch(proof, minutes * 60)]
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return growth(samples)


async def _watch(proof: Trial, seconds: float) -> AsyncIterator[Sample]:
    assert proof.proxy.process is not None
    every = min(SAMPLE_SECONDS, seconds / SAMPLES)
    spool = proof.proxy.config.with_name("data") / "spool.db"
    requests = 0
    for number in range(1, int(seconds / every) + 1):
        await asyncio.sleep(every)
        sample = take_sample(proof.proxy.process.pid, spool)
        requests += len(proof.sink.requests)
        proof.sink.requests.clear()
        proof.load.acknowledged.clear()
        sys.stdout.write(f"{number * every:6.0f} s  {sample}  requests {requests}\n")
        sys.stdout.flush()
        yield sample


def main() -> None:
    if not Path("/proc/self/statm").exists():
        raise SystemExit("this reads /proc, which only Linux has")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = asyncio.run(soak(Path(folder), given.minutes, given.workers))
    sys.stdout.write("".join(f"{each}\n" for each in found or ["nothing grew"]))
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
