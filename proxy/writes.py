"""What waits to be written, and doing much of it with few statements.

At each row that SQLite is asked for or given on its own the writing thread lets go of the
interpreter, and has to wait until the busy one does the same. So what many want written is one
statement for all of them.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

import apsw

T = TypeVar("T")
Item = TypeVar("Item")

#: Work on the writing connection, inside a transaction that it shares with other jobs. It may run
#: again after a rollback.
Job = Callable[[apsw.Cursor], T]
#: A job for many: an answer for each item, in their order.
Work = Callable[[apsw.Cursor, Sequence[Item]], Sequence[T]]

#: Rows of one INSERT. Few sizes, so that SQLite prepares each statement once.
_ROWS: Final = (64, 8, 1)


class Write(NamedTuple):
    """A job, or else an item of work; and who waits for it."""

    job: Job[Any] | None
    work: Work[Any, Any] | None
    item: Any
    size: int
    future: asyncio.Future[Any]
    must_land: bool
    adds: bool


def do_all(cursor: apsw.Cursor, writes: Sequence[Write]) -> list[Any]:
    """The answers, in order. Items of the same work are done together, but never before a job that
    came before them, or after one that came after.
    """
    answers: list[Any] = [None] * len(writes)
    together: dict[Work[Any, Any], list[int]] = {}

    def do_together() -> None:
        for work, places in together.items():
            done = work(cursor, [writes[place].item for place in places])
            for place, answer in zip(places, done, strict=True):
                answers[place] = answer
        together.clear()

    for place, write in enumerate(writes):
        if write.work is not None:
            together.setdefault(write.work, []).append(place)
        elif write.job is not None:
            do_together()
            answers[place] = write.job(cursor)
    do_together()
    return answers


def insert_rows(cursor: apsw.Cursor, insert: str, rows: Sequence[Sequence[Any]]) -> None:
    """`insert` is the statement up to its VALUES, say "INSERT INTO events"; all rows are as long
    as the first.
    """
    at = 0
    for size in _ROWS:
        while len(rows) - at >= size:
            marks = "(" + ", ".join("?" * len(rows[0])) + ")"
            statement = f"{insert} VALUES {', '.join([marks] * size)}"
            cursor.execute(statement, tuple(chain.from_iterable(rows[at : at + size])))
            at += size


def numbers(values: Iterable[int]) -> apsw.CArrayBinding:
    """At least one, for `carray(?)`: https://sqlite.org/carray.html."""
    return apsw.carray(array("q", values))
