"""What was acknowledged is there, whatever ended the process and wherever the file ends."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from proxy.database import Database
from proxy.spool import schema
from proxy.spool.ledger import balances
from proxy.spool.sqlite import SqliteSpool
from tests.spool.conftest import DAY, OpenDatabase
from tests.spool.helpers import copy_as_killed, counts, events, pending, wal_size
from tests.support import FakeClock

ROUNDS = 6
ROOT = Path(__file__).parents[2]


async def test_a_killed_process_has_kept_all_that_it_acknowledged_once(
    tmp_path: Path, open_database: OpenDatabase
) -> None:
    path = tmp_path / "spool.db"
    chance = random.Random(1)
    said: list[str] = []
    for round_ in range(ROUNDS):
        lines = chance.randrange(1, 1_500)
        said += await asyncio.to_thread(run_and_kill, path, f"round{round_}", lines)
    appended = [line.split()[1] for line in said if line.startswith("appended ")]
    settled = [line.split()[1] for line in said if line.startswith("settled ")]

    database = open_database(path)
    kept = Counter(pending(database))
    assert not {id_ for id_, number in kept.items() if number > 1}
    assert not set(settled) & set(kept)
    gone = set(appended) - set(kept) - set(settled)
    found = counts(path)
    # A kill comes between a settlement and the word of it at most once a round.
    assert len(gone) <= found.delivered - len(settled) <= ROUNDS
    assert found.pending == len(kept)
    assert found.rejected["bad_request"] == found.pending + found.delivered
    assert balances(found)
    assert len(settled) > 10

    await SqliteSpool(database, SystemClock(), DAY).append("acme", events(*appended), {})
    assert counts(path).duplicate == len(appended)  # no id was forgotten
    rows = database.read("SELECT (SELECT count(*) FROM dedup_0) + (SELECT count(*) FROM dedup_1)")
    assert rows[0][0] > 0  # some had been moved into the index


def run_and_kill(path: Path, name: str, lines: int) -> list[str]:
    """Kills the process after so many lines; answers all that it printed whole."""
    command = [sys.executable, "-m", "tests.spool.appender", str(path), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        hangs = threading.Timer(30, process.kill)
        hangs.start()
        output = b"".join(process.stdout.readline() for _ in range(lines))
        hangs.cancel()
        process.kill()
        output += process.stdout.read()
        assert process.wait(10) == -signal.SIGKILL
    assert output.count(b"\n") >= lines
    return [line.decode() for line in output.splitlines(keepends=True) if line.endswith(b"\n")]


@pytest.mark.parametrize("seed", range(3))
async def test_a_torn_wal_costs_only_what_was_torn(
    spool: SqliteSpool, database: Database, clock: FakeClock, tmp_path: Path, seed: int
) -> None:
    """A power cut can leave the end of a file unwritten that was never synced."""
    sizes: list[int] = []
    for number in range(40):
        await spool.append("acme", events(f"m-{number}", size=3_000), {"bad_request": 1})
        sizes.append(wal_size(database.path))
    chance = random.Random(seed)
    for attempt in range(8):
        cut = chance.randrange(sizes[-1])
        torn = tmp_path / f"torn-{attempt}.db"
        tear(database.path, torn, cut, garbage=bytes(chance.randrange(256) for _ in range(64)))
        reopened = Database(torn, (schema.SCHEMA,))
        whole = sum(size <= cut for size in sizes)
        assert pending(reopened) == [f"m-{number}" for number in range(whole)]
        assert counts(torn).received == 2 * whole
        await SqliteSpool(reopened, clock, 86_400).append("acme", events("next"), {})
        assert balances(counts(torn))
        await reopened.close()


def tear(path: Path, to: Path, cut: int, garbage: bytes) -> None:
    copy_as_killed(path, to)
    with Path(f"{to}-wal").open("r+b") as wal:
        wal.truncate(cut)
        wal.seek(0, os.SEEK_END)
        wal.write(garbage)
