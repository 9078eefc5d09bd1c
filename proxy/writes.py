"""What waits to be written, and doing much of it with few statements.

At each row that SQLite is asked for or given on its own the writing thread lets go of the
interpreter, and has to wait until the busy one does the same. So what many want written is one
statement for all of them.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, TypeVar

import apsw
import msgspec

T = TypeVar("T")
Item = TypeVar("Item")

#: Work on the writing connection, inside a transaction that it shares with other jobs. It may run
#: again after a rollback.
Job = Callable[[apsw.Cursor], T]
#: A job for many: an answer for each item, in their order.
Work = Callable[[apsw.Cursor, Sequence[Item]], Sequence[T]]

#: Rows of one VALUES. Few sizes, so that SQLite prepares each statement once.
_ROWS: Final = (64, 8, 1)


class Write(msgspec.Struct, frozen=True):
    """A job, or else an item of work. `answered` is told, in the loop, what it answers, or the
    exception for which it did not.
    """

    job: Job[Any] | None
    work: Work[Any, Any] | None
    item: Any
    size: int
    answered: Callable[[Any], None]
    must_land: bool
    adds: bool
    patient: bool = False


def tell(future: asyncio.Future[T], answer: T | BaseException) -> None:
    """Unless whoever waited has gone."""
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)


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


def insert_rows(
    cursor: apsw.Cursor, insert: str, rows: Sequence[Sequence[Any]], conflict: str = ""
) -> None:
    """`insert` is the statement up to its VALUES, say "INSERT INTO events", `conflict` what comes
    after them.
    """
    for values, some in _in_pieces(rows):
        cursor.execute(f"{insert} {values} {conflict}", some)


def select_for(
    cursor: apsw.Cursor, select: str, rows: Sequence[Sequence[Any]]
) -> list[tuple[Any, ...]]:
    """What a SELECT finds from `given`, a table of these rows: column1, column2 and so on."""
    found: list[tuple[Any, ...]] = []
    for values, some in _in_pieces(rows):
        found += cursor.execute(f"WITH given AS ({values}) {select}", some)
    return found


def _in_pieces(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """VALUES with as many question marks as there are values. All rows are as long as the first."""
    at = 0
    for size in _ROWS:
        while len(rows) - at >= size:
            some = chain.from_iterable(rows[at : at + size])
            yield _values(size, len(rows[0])), tuple(some)
            at += size


@cache
def _values(size: int, width: int) -> str:
    marks = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([marks] * size)}"


def numbers(values: Iterable[int]) -> apsw.CArrayBinding:
    """At least one, for `carray(?)`: https://sqlite.org/carray.html."""
    return apsw.carray(array("q", values))
