"""The table for people, and the JSON for programs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw
import msgspec
from rich.console import Console
from rich.table import Table

from bench.figures import Goal, Measured

LIBRARIES: Final = ("kochava-proxy", "aiohttp", "uvloop", "msgspec", "pluggy", "apsw")
#: Kinds of file systems that keep nothing: a commit there costs nothing either.
IN_MEMORY: Final = ("tmpfs", "ramfs")


class Machine(msgspec.Struct, frozen=True):
    """Without which absolute figures say nothing."""

    system: str
    processor: str
    cores: list[int]
    python: str
    libraries: dict[str, str]
    sqlite: str
    folder: str
    file_system: str


class Report(msgspec.Struct, frozen=True):
    """A whole run. `notes` say what was scaled down, `skipped` and `failed` which rows are
    missing, and why; all by row.
    """

    machine: Machine
    quick: bool
    rounds: int
    seconds: float
    figures: list[Measured]
    notes: dict[str, str]
    skipped: dict[str, str]
    failed: dict[str, str]


def this_machine(folder: Path, cores: Sequence[int]) -> Machine:
    """`folder` is where the files of the run are."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor(),
        cores=list(cores),
        python=platform.python_version(),
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
        sqlite=apsw.sqlite_lib_version(),
        folder=str(folder),
        file_system=file_system(folder),
    )


def processor() -> str:
    """Its name, as far as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def file_system(folder: Path) -> str:
    """The kind of the file system that a folder is on; "" where nobody says."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return ""
    found: dict[str, str] = {}
    for line in mounts.read_text(errors="replace").splitlines():
        _, place, kind, *_ = line.split()
        found[place] = kind
    whole = os.path.realpath(folder)
    above = [place for place in found if f"{whole}/".startswith(f"{place.rstrip('/')}/")]
    return found[max(above, key=len)] if above else ""


def show(report: Report) -> None:
    """Prints it."""
    console = Console(highlight=False, markup=False)
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    console.print(
        f"{machine.system}, {machine.processor or 'an unknown processor'}, "
        f"{len(machine.cores)} cores, {machine.file_system or 'an unknown file system'}\n"
        f"Python {machine.python}, {versions}, SQLite {machine.sqlite}\n",
        soft_wrap=True,
    )
    if machine.file_system in IN_MEMORY:
        console.print("the folder is in memory: what waits for the disk does not wait here")
    if len(machine.cores) < 2:
        console.print("one core: load and sink take their time from what is measured")
    table = _table(report.figures)
    unbounded = console.options.update(max_width=1_000_000)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table, end="\n\n")
    for title, told in (("scaled", report.notes), ("skipped", report.skipped),
                        ("FAILED", report.failed)):  # fmt: skip
        for row, why in told.items():
            console.print(f"{title}: {row}: {why}", soft_wrap=True)
    kind = "quick, " if report.quick else ""
    console.print(f"{kind}rounds: {report.rounds}, {report.seconds:.0f} s")


def _table(figures: Sequence[Measured]) -> Table:
    table = Table("", "median", "", "spread", "ratio", "of", "at least", "aim", "",
                  box=None, pad_edge=False)  # fmt: skip
    for place in (1, 3, 4, 6, 7):
        table.columns[place].justify = "right"
    for column in table.columns:
        column.no_wrap = True
    row = ""
    for each in figures:
        if row and each.row != row:
            table.add_row()
        row = each.row
        table.add_row(
            each.name,
            number(each.median),
            each.unit,
            f"{each.spread:.0%}" if len(each.values) > 1 else "",
            "" if each.ratio is None else f"{each.ratio:.2f}",
            each.against or "",
            *_goal(each.goal),
            each.meets or "",
        )
    return table


def _goal(goal: Goal | None) -> tuple[str, str]:
    if goal is None:
        return "", ""
    sign = "<= " if goal.lower else ""
    return f"{sign}{goal.at_least:g}", f"{sign}{goal.aim:g}"


def number(value: float) -> str:
    """With as many digits as mean anything."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
