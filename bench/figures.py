"""What a row tells: figures, what each is compared with, and what it should be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import Final, Literal

import msgspec

from bench.stage import Stage

Verdict = Literal["aim", "at least", "no"]


class Goal(msgspec.Struct, frozen=True):
    """Of the ratio, or of the value where `of_value`; `lower` says that less is better."""

    at_least: float
    aim: float
    lower: bool = False
    of_value: bool = False

    def judge(self, number: float) -> Verdict:
        if self.lower:
            return "aim" if number <= self.aim else "at least" if number <= self.at_least else "no"
        return "aim" if number >= self.aim else "at least" if number >= self.at_least else "no"


class Figure(msgspec.Struct, frozen=True):
    """One line of the table. `against` is the figure that it is divided by, round by round."""

    name: str
    unit: str
    against: str | None = None
    goal: Goal | None = None


class Row(msgspec.Struct, frozen=True):
    """What is measured together. `needs` are rows that must be measured in the same round."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    measure: Callable[[Stage], Awaitable[Mapping[str, float]]]
    needs: tuple[str, ...] = ()
    once: bool = False  # too long to be repeated


#: Of all processes of the proxy; the last figure of every row that runs one.
MEMORY: Final = Goal(400, 200, lower=True, of_value=True)


def memory(row: str) -> Figure:
    """The figure of a row's peak memory."""
    return Figure(f"{row}: peak memory", "MB", goal=MEMORY)


class Skipped(Exception):
    """A row cannot be measured here, and why."""


class Measured(msgspec.Struct, frozen=True):
    """A figure after all rounds."""

    row: str
    name: str
    unit: str
    values: list[float]
    median: float
    spread: float  # from the lowest value to the highest, as a part of the median
    against: str | None
    ratios: list[float]
    ratio: float | None  # the median of the ratios of the rounds, not the ratio of the medians
    goal: Goal | None
    meets: Verdict | None


def measured(row: str, figure: Figure, rounds: Sequence[Mapping[str, float]]) -> Measured | None:
    """The figure out of the values of all rounds, by name; None if no round has it."""
    values = [each[figure.name] for each in rounds if figure.name in each]
    if not values:
        return None
    middle = median(values)
    ratios = [
        each[figure.name] / each[figure.against]
        for each in rounds
        if figure.against is not None and figure.name in each and each.get(figure.against)
    ]
    ratio = median(ratios) if ratios else None
    goal, judged = figure.goal, None
    if goal is not None:
        number = middle if goal.of_value else ratio
        judged = None if number is None else goal.judge(number)
    return Measured(
        row=row,
        name=figure.name,
        unit=figure.unit,
        values=values,
        median=middle,
        spread=(max(values) - min(values)) / middle if middle else 0.0,
        against=figure.against,
        ratios=ratios,
        ratio=ratio,
        goal=goal,
        meets=judged,
    )
