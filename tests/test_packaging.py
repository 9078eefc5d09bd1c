"""What is declared is what is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import Any

import pytest

from tests.test_imports import ROOT, imported, modules

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("bench", "plugins", "proxy")
#: What its client is given so that it need not make it anew for each request.
OF_AIOHTTP = {"multidict", "yarl"}
LOCKS = ("requirements.lock", "requirements-dev.lock")
TEXTS = (
    "*.md", "*.toml", "*.lock", "Makefile", ".ci/*", "bench/**/*.py", "docs/**/*", "examples/*",
    "plugins/*.py", "plugins.d/*.md", "proxy/**/*.py", "tests/**/*",
)  # fmt: skip


def normal(requirement: str) -> str:
    """The name of a distribution as indexes compare it (PEP 503)."""
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_the_packages_declared_are_the_packages_there_are() -> None:
    there = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for file in (ROOT / package).rglob("__init__.py")
    }
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(there)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_third_party_import_is_a_declared_dependency(package: str) -> None:
    declared = {normal(each) for each in PROJECT["project"]["dependencies"]}
    if package == "proxy":
        declared |= {normal(each) for each in PROJECT["project"]["optional-dependencies"]["fast"]}
    known = sys.stdlib_module_names | set(PACKAGES) | (OF_AIOHTTP if package == "bench" else set())
    owners = packages_distributions()
    for file in modules(package).values():
        roots = {each.split(".")[0] for each in imported(file)} - known
        for root in roots:
            assert {normal(owner) for owner in owners[root]} & declared, f"{file} imports {root}"


def test_every_declared_dependency_is_imported() -> None:
    used = {each.split(".")[0] for file in modules("proxy").values() for each in imported(file)}
    owners = packages_distributions()
    needed = {normal(owner) for root in used for owner in owners.get(root, [])}
    assert {normal(each) for each in PROJECT["project"]["dependencies"]} <= needed


def test_what_is_an_extra_is_not_loaded_unless_it_is_asked_for() -> None:
    code = "import sys, proxy.cli.main, proxy.app; sys.exit('pycurl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_console_script_is_the_command_group() -> None:
    assert PROJECT["project"]["scripts"] == {"kochava-proxy": "proxy.cli.main:main"}


def pins(lock: str) -> dict[str, list[str]]:
    """The hashes of each pinned requirement."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement, *hashes = line.split(" --hash=")
        assert re.match(r"[\w.-]+==[\w.]+(?: ;.*)?$", requirement.strip()), line
        found[normal(requirement)] = [each.strip() for each in hashes]
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_line_by_hash_and_names_no_host(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text(encoding="utf-8")
    for name, hashes in pins(lock).items():
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name


@pytest.mark.parametrize(
    ("lock", "more"),
    [
        ("requirements.lock", PROJECT["dependency-groups"]["build"]),
        ("requirements-dev.lock", PROJECT["project"]["optional-dependencies"]["dev"]),
    ],
    ids=LOCKS,
)
def test_a_lock_holds_every_dependency(lock: str, more: list[str]) -> None:
    assert {normal(each) for each in [*PROJECT["project"]["dependencies"], *more]} <= set(
        pins(lock)
    )


def test_both_locks_pin_the_same_versions() -> None:
    versions = [
        dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE))
        for lock in LOCKS
    ]
    assert {name: versions[1].get(name) for name in versions[0]} == versions[0]


def test_no_text_names_a_package_index_or_a_folder_of_one_machine() -> None:
    # Put together, so that this file does not find itself.
    hosts = ["py" + "pi.org", "python" + "hosted.org"]
    folders = [f"/{name}/" for name in ("work", "root", "home")]
    unwanted = re.compile("|".join(map(re.escape, hosts + folders)))
    files = {file for pattern in TEXTS for file in ROOT.glob(pattern) if file.is_file()}
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in sorted(files)
        for match in unwanted.finditer(file.read_text(encoding="utf-8", errors="replace"))
        if file.suffix != ".pyc"
    ]
    assert found == []
