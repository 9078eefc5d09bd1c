"""Medians, spreads, ratios and goals, and the table that shows them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.figures import MEMORY, Figure, Goal, Measured, measured
from bench.report import Report, number, show, this_machine

ROUNDS = [
    {"ours": 50.0, "ceiling": 100.0},
    {"ours": 30.0, "ceiling": 40.0},  # a slow moment, for both
    {"ours": 60.0, "ceiling": 100.0},
]


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    found = measured("row", Figure("ours", "events/s", "ceiling", Goal(0.55, 0.8)), ROUNDS)
    assert found is not None
    assert found.values == [50, 30, 60]
    assert found.median == 50
    assert found.spread == 0.6
    assert found.ratios == [0.5, 0.75, 0.6]
    assert found.ratio == 0.6
    assert found.meets == "at least"


def test_a_figure_that_not_every_round_has() -> None:
    rounds = [{"ours": 4.0, "ceiling": 8.0}, {"ceiling": 9.0}, {"ours": 5.0}]
    found = measured("row", Figure("ours", "s", "ceiling"), rounds)
    assert found is not None
    assert (found.values, found.ratios, found.ratio) == ([4, 5], [0.5], 0.5)
    assert found.meets is None
    assert measured("row", Figure("other", "s"), rounds) is None


def test_without_its_ceiling_a_figure_has_no_ratio_and_meets_nothing() -> None:
    found = measured("row", Figure("ours", "s", "gone", Goal(1, 2)), ROUNDS)
    assert found is not None
    assert (found.ratio, found.meets) == (None, None)


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal(0.4, 0.8), 0.39, "no"),
        (Goal(0.4, 0.8), 0.4, "at least"),
        (Goal(0.4, 0.8), 0.8, "aim"),
        (Goal(2, 1.2, lower=True), 2.1, "no"),
        (Goal(2, 1.2, lower=True), 2.0, "at least"),
        (Goal(2, 1.2, lower=True), 1.0, "aim"),
        (MEMORY, 201, "at least"),
    ],
)
def test_goals(goal: Goal, value: float, verdict: str) -> None:
    assert goal.judge(value) == verdict


def test_a_goal_may_be_of_the_value() -> None:
    found = measured("row", Figure("ours", "MB", goal=MEMORY), ROUNDS)
    assert found is not None
    assert found.meets == "aim"


@pytest.mark.parametrize(
    ("value", "text"), [(123_456.7, "123,457"), (99.94, "99.9"), (0.12345, "0.123")]
)
def test_numbers_are_shown_as_far_as_they_mean_anything(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_shows_it_all_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = Figure("ours", "events/s", "ceiling", Goal(0.55, 0.8))
    found = measured("row", figure, ROUNDS)
    assert found is not None
    report = Report(
        machine=this_machine(tmp_path, [0, 1]),
        quick=True,
        rounds=3,
        seconds=7,
        figures=[found],
        notes={"backlog": "less"},
        skipped={"curl": "not there"},
        failed={},
    )
    show(report)
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("ours")]
    assert line.split() == ["ours", "50", "events/s", "60%", "0.60", "ceiling", "0.55", "0.8",
                            "at", "least"]  # fmt: skip
    assert "2 cores" in printed
    assert "scaled: backlog: less" in printed
    assert "skipped: curl: not there" in printed
    assert "FAILED" not in printed
    again = msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert again.figures[0] == found
    assert isinstance(again.figures[0], Measured)
