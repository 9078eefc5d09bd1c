"""The good client as a process of its own: what it measures is the proxy, not the tool's loop."""

from __future__ import annotations

import argparse
import asyncio
import sys

import msgspec
import uvloop

from tests.hostile.sender import Answer, Steady


class SteadyReport(msgspec.Struct):
    """How a good client fared. `p99` is in seconds."""

    sent: set[str]
    p99: float
    not_taken: list[Answer]


def report_of(steady: Steady) -> SteadyReport:
    return SteadyReport(steady.sent, steady.p99(), steady.not_taken)


class SteadyClient:
    """Sends until stopped."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int, name: str) -> SteadyClient:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, "--port", str(port), "--name", name,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return cls(process)

    async def stop(self) -> SteadyReport:
        output, _ = await self._process.communicate(b"")  # the end of its input
        return msgspec.json.decode(output, type=SteadyReport)


async def _send(port: int, name: str) -> None:
    steady, stop = Steady(port, name), asyncio.Event()
    sending = asyncio.create_task(steady.run(stop))
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    await sending
    sys.stdout.buffer.write(msgspec.json.encode(report_of(steady)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    given = parser.parse_args()
    uvloop.run(_send(given.port, given.name))


if __name__ == "__main__":
    main()
