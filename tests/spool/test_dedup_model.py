"""Two processes' windows on one file against a plain dict, with bounds so small that ids are moved
all the time.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import apsw
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.spool import dedup
from proxy.spool.dedup import DedupWindow
from tests.support import NOW

SECONDS = 100.0
MAX_RECENT = 6

#: In three of the buckets.
DIGESTS = [bytes([first]).ljust(15) + bytes([last]) for first in (0, 1, 255) for last in range(9)]
digests = st.sampled_from(DIGESTS)
#: More at once than there is room for, too.
transactions = st.lists(st.lists(digests, max_size=10), min_size=1, max_size=3)
windows = st.sampled_from([0, 1])


class WindowMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.now = NOW
        self.seen: dict[bytes, float] = {}
        self.connections = [self.connect(), self.connect()]
        self.connections[0].execute(dedup.SCHEMA)
        self.windows = [DedupWindow(SECONDS, max_recent=MAX_RECENT) for _ in range(2)]

    def connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.folder / "spool.db"))
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "off")
        return connection

    def work(self, which: int, transaction: list[list[bytes]]) -> dict[bytes, float]:
        """What is known if it is committed."""
        cursor = self.connections[which].cursor()
        cursor.execute("BEGIN IMMEDIATE")
        seen = dict(self.seen)
        for some in transaction:
            expected = []
            for digest in some:
                expected.append(seen.get(digest, 0.0) <= self.now - SECONDS)
                if expected[-1]:
                    seen[digest] = self.now
            assert self.windows[which].fresh(cursor, some, self.now) == expected
        return seen

    @rule(which=windows, transaction=transactions)
    def commit(self, which: int, transaction: list[list[bytes]]) -> None:
        self.seen = self.work(which, transaction)
        self.connections[which].execute("COMMIT")

    @rule(which=windows, transaction=transactions)
    def roll_back(self, which: int, transaction: list[list[bytes]]) -> None:
        self.work(which, transaction)
        self.connections[which].execute("ROLLBACK")

    @rule(which=windows, transaction=transactions)
    def crash(self, which: int, transaction: list[list[bytes]]) -> None:
        self.work(which, transaction)
        self.restart(which)

    @rule(which=windows)
    def restart(self, which: int) -> None:
        self.connections[which].close()
        self.connections[which] = self.connect()
        self.windows[which] = DedupWindow(SECONDS, max_recent=MAX_RECENT)

    @rule(seconds=st.sampled_from([1.0, 30.0, 99.0, SECONDS, 101.0, 250.0]))
    def advance(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def little_is_kept_beside_the_index(self) -> None:
        rows: Any = (
            self.connections[0]
            .execute("SELECT coalesce(sum(length(digests)), 0) / 16 FROM dedup_recent")
            .fetchall()
        )
        # While all buckets are moved in turn, as many may come as there is room for, some at once.
        assert rows[0][0] <= 4 * (MAX_RECENT + 30)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for connection in self.connections:
                connection.close()
            shutil.rmtree(self.folder)


TestWindow = WindowMachine.TestCase
TestWindow.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
