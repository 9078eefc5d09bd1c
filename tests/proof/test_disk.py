"""The process dies at its writes and syncs, and the disk fills up or fails: what was acknowledged
is there at the next start.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.proof.faults import ERROR, Mixed
from tests.proof.trial import WORKERS, trial

for_workers = pytest.mark.parametrize("workers", WORKERS[:1])

#: At which of its calls the process dies, one after the other on the same file; the first are
#: those of the start. PROOF_SWEEP=40 tries each of the first 40.
SWEEP = range(1, int(os.environ.get("PROOF_SWEEP", "0")) + 1) or (1, 4, 21)
DEATHS = (
    ("write", "die before"),
    ("write", "die amid"),
    ("sync", "die before"),
    ("sync", "die after"),
)


async def test_dying_at_any_call_of_the_disk_loses_nothing(tmp_path: Path) -> None:
    """With one process: whose the call is makes no difference to the disk."""
    async with trial(tmp_path, 20) as proof:
        proof.sink.plan = Mixed(proof.chance, 10, [ERROR])
        faults = [{"at": at, "call": call, "does": does} for call in SWEEP for at, does in DEATHS]
        async with proof.sending(len(faults) * 40, pause=0.01):
            codes = await proof.end_by(*faults)
        assert set(codes) == {-signal.SIGKILL}
        await proof.holds()


@for_workers
async def test_a_disk_that_fails_ends_the_process_and_loses_nothing(
    tmp_path: Path, workers: int
) -> None:
    async with trial(tmp_path, 21, workers) as proof:
        faults = [{"at": at, "call": 20, "does": "fail"} for at in ("write", "sync")]
        async with proof.sending(200, pause=0.01):
            codes = await proof.end_by(*faults)
        assert all(code > 0 for code in codes)
        await proof.holds()


@for_workers
async def test_a_disk_that_is_full_for_a_while(tmp_path: Path, workers: int) -> None:
    full = tmp_path / "full"
    async with trial(tmp_path, 22, workers, faults={"full": full}) as proof:
        proof.sink.plan = Mixed(proof.chance, 10, [ERROR])
        async with proof.sending(300):
            for enough in (50, 150):
                await proof.reaches(enough)
                full.touch()
                await proof.is_refused()
                full.unlink()
        await proof.holds()
