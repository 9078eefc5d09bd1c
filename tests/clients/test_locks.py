"""The clients are pinned as the product is: by hash, and without the address of an index."""

from __future__ import annotations

import json
import re

from tests.clients.installed import HERE
from tests.test_imports import ROOT
from tests.test_packaging import pins


def test_the_old_python_client_and_what_it_needs_are_pinned_by_hash() -> None:
    lock = HERE / "python-1.4.lock"
    pinned = pins(str(lock.relative_to(ROOT)))
    assert "analytics-python" in pinned
    assert all(hashes for hashes in pinned.values())
    assert "://" not in lock.read_text(encoding="utf-8")


def test_every_package_of_node_is_pinned_by_hash_and_names_no_registry() -> None:
    text = (HERE / "node" / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(text)["packages"]
    wanted = json.loads((HERE / "node" / "package.json").read_text(encoding="utf-8"))
    assert packages.pop("")["dependencies"] == wanted["dependencies"]
    assert all(
        re.fullmatch(r"[\d.]+|npm:.*@[\d.]+", each) for each in wanted["dependencies"].values()
    )
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
