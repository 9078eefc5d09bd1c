"""What the file says at one moment, read again and again however much is in it.

Nothing here walks the queue or the dead letters but the counts of them, which are made in an index,
and seldom.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from proxy.appstate import WorkerState
from proxy.connections import BYTES_IN_USE, open_for_reading
from proxy.errors import StorageError
from proxy.observe.published import read_states
from proxy.spool.ledger import read_replayed

COUNT_SECONDS: Final = 60.0  # at least, between two counts of the queue and the dead letters
COUNT_SHARE: Final = 0.01  # of the time, at most, is spent on counting

#: Source, outcome and reason.
Line = tuple[str, str, str]

_LEDGER: Final = "SELECT source, outcome, reason, count FROM ledger"
_OLDEST: Final = """
SELECT source, (SELECT received_at FROM events WHERE lane = lanes.id ORDER BY id LIMIT 1)
FROM lanes
"""
_COUNT: Final = """
SELECT source, (SELECT count(*) FROM events WHERE lane = lanes.id) FROM lanes
"""
_COUNT_DEAD: Final = "SELECT source, count(*) FROM dead GROUP BY source"


class Snapshot(msgspec.Struct, frozen=True):
    """`messages` is the ledger, but that its numbers only grow: `dead` are all that ever died, and
    `replayed` those of them that were put back. `pending` is what the ledger leaves, and so no
    check of it; `balanced` is one. `oldest` holds the seconds that the first event of each source's
    queue has waited, `letters` how many dead letters there are of each.
    """

    messages: dict[Line, int]
    pending: dict[str, int]
    oldest: dict[str, float]
    balanced: bool
    bytes: int
    workers: list[WorkerState]
    letters: dict[str, int] = {}


class SnapshotReader:
    """Reads the file at `path`; not from two threads at once."""

    def __init__(
        self,
        path: Path,
        sources: Iterable[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sources` are those of the config: they stand with zeros before anything came."""
        self._path = path
        self._monotonic = monotonic
        self._sources = tuple(sources)
        self._balanced = True
        self._letters: dict[str, int] = {}
        self._count_at = float("-inf")

    def read(self, now: float) -> Snapshot:
        """The file as of now, in epoch seconds; as if empty if there is none yet.

        Raises:
            StorageError: it cannot be read.

        """
        messages: dict[Line, int] = {
            (source, outcome, ""): 0
            for source in self._sources
            for outcome in ("received", "duplicate", "delivered", "dead", "replayed")
        }
        if not self._path.exists():
            return Snapshot(messages, _left(messages), dict.fromkeys(self._sources, 0.0),
                            balanced=True, bytes=0, workers=[],
                            letters=dict.fromkeys(self._sources, 0))  # fmt: skip
        with reading(self._path) as connection:
            for source, outcome, reason, number in _rows(connection, _LEDGER):
                messages[source, outcome, reason] = number
            pending = _left(messages)
            for source, number in read_replayed(connection).items():
                messages[source, "replayed", ""] = number
                messages[source, "dead", ""] += number
            oldest = dict.fromkeys(pending, 0.0)
            for source, received_at in _rows(connection, _OLDEST):
                if received_at is not None:
                    oldest[source] = max(oldest.get(source, 0.0), now - received_at)
            self._check(connection, pending)
            ((size,),) = _rows(connection, BYTES_IN_USE)
            workers = _workers(connection, now)
        letters = dict.fromkeys(pending, 0) | self._letters
        return Snapshot(messages, pending, oldest, self._balanced, size, workers, letters)

    def _check(self, connection: apsw.Connection, pending: dict[str, int]) -> None:
        began = self._monotonic()
        if began < self._count_at:
            return
        counted: Counter[str] = Counter()
        for source, number in _rows(connection, _COUNT):
            counted[source] += number
        self._balanced = all(
            pending.get(source, 0) == counted[source] for source in pending.keys() | counted
        )
        self._letters = dict(_rows(connection, _COUNT_DEAD))
        ended = self._monotonic()
        self._count_at = ended + max(COUNT_SECONDS, (ended - began) / COUNT_SHARE)


def read_workers(path: Path, now: float) -> list[WorkerState]:
    """As `proxy.observe.published.read_states`, of a file that may not be there yet.

    Raises:
        StorageError: it cannot be read.

    """
    if not path.exists():
        return []
    with reading(path) as connection:
        return _workers(connection, now)


@contextmanager
def reading(path: Path) -> Iterator[apsw.Connection]:
    """A connection that reads the file as of one moment. It never moves the WAL into the file, not
    even where it is the last one to close: whether that is safe is known to those who write.

    Raises:
        StorageError: the file cannot be read.

    """
    try:
        with closing(open_for_reading(path)) as connection:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.execute("BEGIN")
            yield connection
    except (apsw.Error, StorageError) as error:
        raise StorageError(f"{path}: {error}") from None


def _workers(connection: apsw.Connection, now: float) -> list[WorkerState]:
    return read_states(lambda *query: list(connection.execute(*query)), now)


def _rows(connection: apsw.Connection, statement: str) -> list[tuple[Any, ...]]:
    return list(connection.execute(statement))


def _left(messages: dict[Line, int]) -> dict[str, int]:
    """What was received and has not come to any end, by source."""
    left: Counter[str] = Counter()
    for (source, outcome, _), number in messages.items():
        left[source] += number if outcome == "received" else -number
    return dict(left)
