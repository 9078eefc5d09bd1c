"""The flood as a process of its own, so that the good client need not share one with it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice

import msgspec
import uvloop

from tests.hostile.requests import Attempt, Hostile
from tests.hostile.sender import Tally, hammer

QUARTERS = 4


def attempts(seed: int, number: int) -> Iterator[Attempt]:
    hostile = Hostile(seed)
    return islice(iter(hostile.next, None), number)


class Report(msgspec.Struct):
    """Printed after every quarter."""

    attempts: int
    acknowledged: int
    statuses: dict[str, int]
    planted: list[str]
    faults: list[str]


def report_of(tally: Tally) -> Report:
    return Report(
        tally.attempts,
        tally.acknowledged,
        dict(sorted(tally.statuses.items())),
        sorted(tally.planted),
        tally.faults,
    )


async def _flood(port: int, number: int, seed: int, clients: int) -> None:
    supply, tally = attempts(seed, number), Tally()
    for _ in range(QUARTERS):
        await hammer(port, islice(supply, number // QUARTERS), clients, tally)
        sys.stdout.buffer.write(msgspec.json.encode(report_of(tally)) + b"\n")
        sys.stdout.buffer.flush()


@asynccontextmanager
async def flooding(
    port: int, number: int, seed: int, clients: int
) -> AsyncIterator[AsyncIterator[Report]]:
    """Its reports, as they come."""
    options = {"--requests": number, "--seed": seed, "--clients": clients, "--port": port}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        *(str(word) for option in options.items() for word in option),
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    assert process.stdout is not None
    lines = process.stdout

    async def reports() -> AsyncIterator[Report]:
        while line := await lines.readline():
            yield msgspec.json.decode(line, type=Report)

    try:
        yield reports()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--port", "--requests", "--seed", "--clients"):
        parser.add_argument(option, type=int, required=True)
    given = parser.parse_args()
    os.nice(10)  # in earnest it would run on machines of its own
    uvloop.run(_flood(given.port, given.requests, given.seed, given.clients))


if __name__ == "__main__":
    main()
