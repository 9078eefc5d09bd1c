"""Many writes in few statements, each answered as if it had been alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.writes import Write, do_all, insert_rows, numbers, select_for


def nobody(_: Any) -> None:
    pass


def item(work: Callable[[Any, Sequence[Any]], list[Any]], of: object) -> Write:
    return Write(None, work, of, 1, nobody, must_land=False, adds=False)


def job(do: Callable[[Any], Any]) -> Write:
    return Write(do, None, None, 1, nobody, must_land=False, adds=False)


@pytest.fixture
def cursor() -> apsw.Cursor:
    return apsw.Connection(":memory:").cursor()


@given(st.lists(st.sampled_from(["a", "b", "job"])))
def test_items_are_done_together_but_never_across_a_job(kinds: list[str]) -> None:
    """Every answer stands where it was asked for; between two jobs each work is called once."""
    calls: list[tuple[str, list[int]]] = []

    def work(name: str, numbers: Sequence[int]) -> list[str]:
        calls.append((name, list(numbers)))
        return [f"{name}{number}" for number in numbers]

    def a(_: object, numbers: Sequence[int]) -> list[str]:
        return work("a", numbers)

    def b(_: object, numbers: Sequence[int]) -> list[str]:
        return work("b", numbers)

    def alone(number: int, _: object) -> str:
        return work("job", [number])[0]

    writes = [
        job(partial(alone, number)) if kind == "job" else item({"a": a, "b": b}[kind], number)
        for number, kind in enumerate(kinds)
    ]
    answers = do_all(apsw.Connection(":memory:").cursor(), writes)
    assert answers == [f"{kind}{number}" for number, kind in enumerate(kinds)]
    jobs = [number for number, kind in enumerate(kinds) if kind == "job"]
    ends = [-1, *jobs, len(kinds)]
    expected = []
    for begin, end in itertools.pairwise(ends):
        between = range(begin + 1, end)
        expected += [
            (kind, [number for number in between if kinds[number] == kind])
            for kind in dict.fromkeys(kinds[number] for number in between)
        ]
        if end < len(kinds):
            expected.append(("job", [end]))
    assert calls == expected


def test_work_that_forgets_an_answer_fails(cursor: apsw.Cursor) -> None:
    with pytest.raises(ValueError, match="shorter"):
        do_all(cursor, [item(lambda _, items: list(items[1:]), 1), item(lambda *_: [], 2)])


@pytest.mark.parametrize("number", [0, 1, 7, 8, 9, 63, 64, 65, 200])
def test_rows_of_any_number_go_in_and_are_found(cursor: apsw.Cursor, number: int) -> None:
    cursor.execute("CREATE TABLE pairs (one INTEGER PRIMARY KEY, two TEXT)")
    rows = [(each, f"text {each}") for each in range(number)]
    insert_rows(cursor, "INSERT INTO pairs", rows)
    insert_rows(cursor, "INSERT INTO pairs", rows[:1], "ON CONFLICT DO UPDATE SET two = 'again'")
    stored = cursor.execute("SELECT one, two FROM pairs ORDER BY one").fetchall()
    assert stored == [(0, "again"), *rows[1:]][:number]
    select = "SELECT one, two FROM given JOIN pairs ON one = column1 AND two = column2"
    asked = [*rows[1:], (number + 1, "nobody")]
    assert sorted(select_for(cursor, select, asked)) == rows[1:]


def test_numbers_are_those_of_sqlite(cursor: apsw.Cursor) -> None:
    given_ = [-(2**63), -1, 0, 2**63 - 1]
    found = cursor.execute("SELECT value FROM carray(?)", (numbers(given_),)).fetchall()
    assert [value for (value,) in found] == given_
