"""Imports run one way: from the commands through the rooms down to the ground."""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: From the ground up. A module may import modules of its own floor's room and of floors below.
GROUND = {
    "appstate", "backfill", "clock", "committer", "config", "configfile", "configrules",
    "connections", "database", "decode", "device", "errors", "event", "heartbeat", "kochava",
    "occasionally", "placing", "postback", "reserve", "segment", "states", "translate", "turns",
    "writes",
}  # fmt: skip
ROOMS = {"console", "deliver", "identities", "mapping", "observe", "receive", "sandbox", "spool"}
TOP = {"app", "pipeline", "supervisor", "worker", "cli"}
#: The queue's protocol is ground for whoever fills or empties it; who only looks may read it.
ALSO = {"deliver": {"spool.base"}, "receive": {"spool.base"},
        "observe": {"spool.base", "spool.ledger"},
        # It serves what these make of it.
        "console": {"observe.metrics", "observe.snapshot", "receive.health",
                    "receive.protocol"}}  # fmt: skip


def modules(package: str) -> dict[str, Path]:
    """Files by the names under which they are imported."""
    found = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(file: Path, *, typing_only: bool = True) -> set[str]:
    """What a file imports, wherever in it; `from a import b` is a.b as far as that is a module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    if not typing_only:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(inner for each in node.body for inner in ast.walk(each))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide the direction"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in PROXY else str(node.module))
    return found


PROXY = modules("proxy")
BELOW = {name: {each for each in imported(file) if each.split(".")[0] in ("proxy", "plugins")}
         for name, file in PROXY.items()}  # fmt: skip


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_module_has_its_floor() -> None:
    assert {room(module) for module in PROXY} == GROUND | ROOMS | TOP | {""}


def test_the_ground_imports_only_ground() -> None:
    wrong = {
        module: upper
        for module in PROXY
        if room(module) in GROUND
        and (upper := {each for each in BELOW[module] if room(each) not in GROUND})
    }
    assert not wrong


def test_no_room_imports_another() -> None:
    wrong = {
        (module, each)
        for module in PROXY
        if room(module) in ROOMS
        for each in BELOW[module]
        if room(each) not in GROUND | {room(module)}
        and each.removeprefix("proxy.") not in ALSO.get(room(module), set())
        and not (room(module) == "mapping" and each == "plugins")  # to find the built-ins
    }
    assert not wrong


def test_the_pipeline_knows_neither_the_app_nor_the_commands() -> None:
    assert not {each for each in BELOW["proxy.pipeline"] if room(each) in ("app", "cli")}


def test_the_app_does_not_know_its_commands() -> None:
    assert not {each for each in BELOW["proxy.app"] if room(each) == "cli"}


def test_what_serves_does_not_need_the_benchmark() -> None:
    users = {
        module
        for module, file in PROXY.items()
        if any(each.split(".")[0] == "bench" for each in imported(file))
    }
    assert users == {"proxy.cli.bench"}


def test_no_cycles() -> None:
    graph = {
        module: {each for each in imported(file, typing_only=False) if each in PROXY} - {"proxy"}
        for module, file in PROXY.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("file", [pytest.param(file, id=name) for name, file in
                                  modules("plugins").items()])  # fmt: skip
def test_a_built_in_imports_only_what_plugin_authors_do(file: Path) -> None:
    foreign = {each for each in imported(file) if each.split(".")[0] not in sys.stdlib_module_names}
    assert foreign <= {"proxy"}


def test_modules_stay_small() -> None:
    lengths = {
        name: len(file.read_text(encoding="utf-8").splitlines())
        for name, file in {**PROXY, **modules("plugins"), **modules("bench")}.items()
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}
