"""Faults at random for as long as you like: `python -m tests.proof.run --minutes 5 --seed 1`.

Round after round on one file: clients send, faults come and go, and at the end of each round the
oracle looks at everything since the beginning. Prints what it does; fails with the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tests.proof.faults import FORBIDDEN, SILENT, Mixed, Plan, always, busy, by_app, everything
from tests.proof.messages import APPS
from tests.proof.trial import TIMEOUT, Trial, trial

ROUND_MESSAGES = 1_500
ROUND_FAULTS = 6
PAUSE = 0.02  # seconds between the calls of a client


def say(what: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what}\n")
    sys.stdout.flush()


class Faults:
    """One method for each kind of fault."""

    def __init__(self, proof: Trial, files: dict[str, Path]) -> None:
        """`files` are those by which faults inside the process come and go."""
        self._proof = proof
        self._chance = proof.chance
        self._files = files

    def all(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.kill, self.end, self.stand_still, self.answer_badly, self.storm, self.one_app,
            self.go_down, self.lose_the_name, self.fill_the_disk, self.turn_the_clock,
            self.die_at_the_disk, self.fail_the_disk,
        ]  # fmt: skip

    async def kill(self) -> None:
        await self._proof.kill_anything()

    async def end(self) -> None:
        assert await self._proof.proxy.end() == 0
        await self._proof.proxy.start()

    async def stand_still(self) -> None:
        await self._proof.stand_still(self._chance.uniform(0.1, TIMEOUT / 2))

    async def answer_badly(self) -> None:
        percent = self._chance.uniform(5, 40)
        self._proof.sink.plan = Mixed(self._chance, percent, everything(TIMEOUT), percent / 10)

    async def storm(self) -> None:
        await self._for_a_while(always(busy(self._chance.choice([None, "1", "2"]))))

    async def one_app(self) -> None:
        answer = self._chance.choice([SILENT, FORBIDDEN])
        await self._for_a_while(by_app({self._chance.choice(APPS): answer}))

    async def _for_a_while(self, plan: Plan) -> None:
        before, self._proof.sink.plan = self._proof.sink.plan, plan
        await asyncio.sleep(self._chance.uniform(0.5, 3))
        self._proof.sink.plan = before

    async def go_down(self) -> None:
        await self._proof.sink.down()
        await asyncio.sleep(self._chance.uniform(0.5, 3))
        await self._proof.sink.up()

    async def fill_the_disk(self) -> None:
        await self._while_there("full")

    async def lose_the_name(self) -> None:
        await self._while_there("names")

    async def _while_there(self, name: str) -> None:
        self._files[name].touch()
        await asyncio.sleep(self._chance.uniform(0.5, 3))
        self._files[name].unlink()

    async def turn_the_clock(self) -> None:
        self._files["clock"].write_text(str(self._chance.uniform(-6, 6) * 3_600))

    async def die_at_the_disk(self) -> None:
        does = self._chance.choice(["die before", "die amid", "die after"])
        await self._disk(self._chance.choice(["write", "sync", "truncate", "delete"]), does)

    async def fail_the_disk(self) -> None:
        await self._disk(self._chance.choice(["write", "sync"]), "fail")

    async def _disk(self, at: str, does: str) -> None:
        most = 60 if at in ("write", "sync") else 3  # the others are rare
        fault = {"at": at, "call": self._chance.randint(1, most), "does": does}
        codes = await self._proof.end_by(fault)
        say(f"  {fault}: ended with {codes}")


async def run(
    folder: Path, minutes: float, workers: int, seed: int, without: Sequence[str] = ()
) -> list[str]:
    """What the oracle objects to at the end of the first round that is not as it must be."""
    ends = time.monotonic() + minutes * 60
    files = {name: folder / name for name in ("full", "clock", "names")}
    async with trial(folder, seed, workers, "localhost", files) as proof:
        faults = [each for each in Faults(proof, files).all() if each.__name__ not in without]
        number = 0
        while time.monotonic() < ends:
            number += 1
            say(f"round {number}")
            async with proof.sending(ROUND_MESSAGES, pause=PAUSE) as sending:
                for _ in range(ROUND_FAULTS):
                    await asyncio.sleep(proof.chance.uniform(0, 1))
                    fault = proof.chance.choice(faults)
                    say(f"  {fault.__name__}")
                    await fault()
                    if sending.done():
                        break
            if found := await proof.verdict():
                return found
            say(f"  {len(proof.load.acknowledged)} acknowledged, {len(proof.sink.requests)} sent")
            await proof.proxy.start()
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--without", nargs="*", default=[], metavar="FAULT")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="proof-"))
    say(f"seed {given.seed}, {given.workers} workers, in {folder}")
    found = asyncio.run(run(folder, given.minutes, given.workers, given.seed, given.without))
    for objection in found:
        say(f"  {objection}")
    say(f"seed {given.seed}: {'FAILED' if found else 'all is well'}")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
