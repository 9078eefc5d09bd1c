"""The clients that `make` installs beside the environment that the tests run in."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

HERE = Path(__file__).parent
CLIENTS = Path(sys.prefix) / "clients"
PYTHON_1_4 = CLIENTS / "python-1.4" / "bin" / "python"
_PATIENCE = 30  # seconds; the scripts give up before


class Report(msgspec.Struct):
    """What a client's script says at its end."""

    errors: list[str] = []
    requests: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []


def _missing() -> str | None:
    """Why the clients of npm are not there; None if they are."""
    if (CLIENTS / "node.stamp").exists():
        return None
    try:
        return (CLIENTS / "node.missing").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return "npm's clients are not installed: make .venv/clients/node.stamp"


_reason = _missing()
needs_node = pytest.mark.skipif(_reason is not None, reason=str(_reason))


async def node(script: str, **job: Any) -> Report:
    """Runs a script of the folder node/."""
    return await _run(["node", HERE / "node" / script], job)


async def python(interpreter: str | Path, **job: Any) -> Report:
    """Runs `customer.py`."""
    return await _run([interpreter, HERE / "customer.py"], job)


async def _run(command: list[str | Path], job: dict[str, Any]) -> Report:
    program = shutil.which(command[0])
    assert program, f"{command[0]} is not there; `make test` installs it"
    done = await asyncio.to_thread(
        subprocess.run,
        [program, *command[1:], msgspec.json.encode(job).decode()],
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
        env=os.environ | {"NODE_PATH": str(CLIENTS / "node" / "node_modules")},
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=Report)
