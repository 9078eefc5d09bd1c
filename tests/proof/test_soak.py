"""The soak fails on growth, and only on growth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof.soak import Sample, growth, take_sample

WARMING = [Sample(memory=number, descriptors=10, threads=5, files=number) for number in range(50)]
WARM = Sample(memory=50, descriptors=10, threads=5, files=50)


def test_what_grows_while_warming_up_and_then_stays_is_well() -> None:
    assert growth([*WARMING, *[WARM] * 150]) == []


def test_what_jumps_up_and_down_is_well() -> None:
    high = Sample(memory=90, descriptors=40, threads=9, files=90)
    assert growth([WARM, WARM, high] * 50) == []


@pytest.mark.parametrize("name", ["memory", "descriptors", "threads", "files"])
def test_what_grows_slowly_for_ever_is_found(name: str) -> None:
    values = {"memory": 50.0, "descriptors": 10.0, "threads": 5.0, "files": 50.0}
    samples = [Sample(**{**values, name: values[name] + number / 2}) for number in range(200)]
    assert len(growth(samples)) == 1
    assert growth(samples)[0].startswith(f"{name} grew from")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_sample_counts_the_processes_below_too(tmp_path: Path, depth: int) -> None:
    code = "import sys; print(flush=True); sys.stdin.read()"
    for _ in range(depth - 1):
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    before = take_sample(os.getpid(), tmp_path / "spool.db")
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        (tmp_path / "spool.db-wal").write_bytes(b"x" * 5_000_000)
        after = take_sample(os.getpid(), tmp_path / "spool.db")
        child.communicate()
    assert after.memory > before.memory + depth
    assert after.threads == before.threads + depth
    assert after.descriptors >= before.descriptors + 3 * depth
    assert after.files == pytest.approx(5, abs=0.1)
