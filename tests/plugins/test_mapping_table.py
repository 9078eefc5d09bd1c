"""docs/mapping.md and the golden files name each other, and the table is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.plugins.cases import NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text("utf-8")
HEADINGS = [
    [*ways, "Source", "How sure", "Golden"]
    for ways in (("From Segment", "To Kochava"), ("From Kochava", "To Segment"))
]
LINES = [line for line in PAGE.splitlines() if line.startswith("|")]
TABLE = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES]
ROWS = [row for row in TABLE if row not in HEADINGS and not set("".join(row)) <= {"-"}]
NAMED = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row[-1])}


def test_every_golden_that_the_table_names_exists() -> None:
    assert sorted(NAMED - set(NAMES)) == []


def test_every_golden_is_named_in_the_table() -> None:
    assert sorted(set(NAMES) - NAMED) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_what_it_rests_on(row: list[str]) -> None:
    assert len(row) == len(HEADINGS[0])
    assert all(row)
    assert row[3] in {"certain", "likely", "our decision"}
    assert re.fullmatch(r"(`[a-z0-9-]+` ?)+", row[4])


def test_only_our_decisions_rest_on_nobody_else() -> None:
    alone = [row[0] for row in ROWS if row[2] == "[this project][own]" and row[3] != "our decision"]
    assert alone == []


def test_every_source_has_an_address() -> None:
    used = {key for row in ROWS for key in re.findall(r"\]\[([^\]]+)\]", row[2])}
    defined = re.findall(r"^\[([^\]]+)\]: (https://\S+|\.\./README\.md)$", PAGE, re.MULTILINE)
    assert {key for key, _ in defined} == used


def test_the_same_rule_stands_in_one_row_only() -> None:
    rules = [tuple(row[:2]) for row in ROWS]
    assert len(set(rules)) == len(rules)
