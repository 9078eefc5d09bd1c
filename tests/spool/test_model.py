"""The spool against a model of plain Python, through every order of calls, crashes among them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.database import Database, open_for_reading
from proxy.event import Event
from proxy.placing import device_hash
from proxy.spool import schema
from proxy.spool.base import Counts, Leased, Parked, Refusal
from proxy.spool.ledger import balances, read_counts
from proxy.spool.letters import DeadLetter, Which, read_letters
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Outcome, Outgoing, Settlement
from tests.spool.helpers import copy_as_killed, lease_now
from tests.support import FakeClock

WINDOW = 100.0
REQUEST = Outgoing("POST", "https://kochava.test/track", {"Kochava-Auth-Token": "t"}, b'{"a":1}')
PLAIN = Outgoing("POST", "https://kochava.test/track", {}, b'{"a":1}')
REFUSAL = Outcome("refused", "bad_app", 400, "no")

sources = st.sampled_from(["acme", "zoo"])
message_ids = st.lists(st.sampled_from("abcdefgh"), max_size=4)
rejections = st.dictionaries(st.sampled_from(["bad_request", "missing_type"]), st.integers(1, 3))
digests = st.frozensets(st.binary(min_size=8, max_size=8), max_size=2)
devices = st.sampled_from("xyz")
picks = st.integers(0, 99)


@dataclass
class Row:
    event: Event
    due: float = 0.0
    refusal: Refusal | None = None
    attempts: int = 0
    first_attempt_at: float | None = None
    done: frozenset[bytes] = frozenset()
    lease: Leased | None = None


class SpoolMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.files = 0
        self.rows: list[Row] = []  # in the order of their arrival
        self.ended: list[Leased] = []
        self.accepted: dict[tuple[str, str], float] = {}
        self.ledger: Counter[tuple[str, ...]] = Counter()
        self.dead: list[tuple[Row, Settlement, float]] = []
        self.open()

    async def settled(self, lease: Leased, settlement: Settlement) -> None:
        await self.spool.settle(lease, settlement)

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 10))

    @property
    def path(self) -> Path:
        return self.folder / f"spool-{self.files}.db"

    def open(self) -> None:
        async def make() -> Database:
            return Database(self.path, (schema.SCHEMA,))

        self.database: Database = self.run(make())
        # Few are kept in memory, so that the disk is tried too.
        self.spool = SqliteSpool(self.database, self.clock, WINDOW, max_followers=2)
        for row in self.rows:
            row.lease = None

    @rule(
        source=sources, message_ids=message_ids, rejected=rejections, device=devices,
        bulk=st.booleans(),
    )  # fmt: skip
    def append(
        self, source: str, message_ids: list[str], rejected: dict[str, int], device: str, bulk: bool
    ) -> None:
        now = self.clock.now()
        raw = f'{{"number": {len(self.rows)}}}'.encode()
        place = device_hash(source, device)
        batch = [
            Event(source, id_, "track", now, b"{}", raw, place, computed=bulk)
            for id_ in message_ids
        ]
        self.run(self.spool.append(source, batch, rejected))
        self.ledger[source, "received"] += len(batch) + sum(rejected.values())
        for reason, number in rejected.items():
            self.ledger[source, "rejected", reason] += number
        for event in batch:
            if self.accepted.get((source, event.message_id), 0.0) > now - WINDOW:
                self.ledger[source, "duplicate"] += 1
            else:
                self.accepted[source, event.message_id] = now
                self.rows.append(Row(event))

    @rule(limit=st.integers(1, 5))
    def lease(self, limit: int) -> None:
        """Whatever order it chooses: nothing before an earlier one of its device, nothing that is
        not due, and as many as there are.
        """
        free = self.free()
        leased = lease_now(self.spool, limit)
        for lease in leased:
            row = next(row for row in free if row.event.raw == lease.event.raw
                       and row.event.message_id == lease.event.message_id
                       and row.event.source == lease.event.source)  # fmt: skip
            free.remove(row)
            event = msgspec.structs.replace(row.event, computed=False)
            # Bulk in front of a live one of its device goes with that.
            assert lease.lane.source == event.source
            assert row.event.computed or not lease.lane.bulk
            assert lease == Leased(
                lease.id, event, lease.lane, row.attempts, row.first_attempt_at, row.done,
                row.refusal,
            )  # fmt: skip
            row.lease = lease
        assert len(leased) == limit or not free

    def free(self) -> list[Row]:
        """What may be sent: the earliest of each device, if it is not under way and is due."""
        earliest: dict[int, Row] = {}
        for row in self.rows:
            earliest.setdefault(row.event.device, row)
        now = self.clock.now()
        return [row for row in earliest.values() if row.lease is None and row.due <= now]

    def leased(self, pick: int) -> tuple[Row, Leased]:
        held = [(row, row.lease) for row in self.rows if row.lease is not None]
        return held[pick % len(held)]

    def any_leased(self) -> bool:
        return any(row.lease for row in self.rows)

    @precondition(any_leased)
    @rule(pick=picks, settlement=st.sampled_from([
        Settlement("delivered"),
        Settlement("filtered", "no_device_id"),
        Settlement("filtered", "consent"),
        Settlement("dead", "plugin_error:x", "Traceback"),
        Settlement("dead", "refused:bad_app", "no", REQUEST, REFUSAL),
    ]))  # fmt: skip
    def settle(self, pick: int, settlement: Settlement) -> None:
        row, lease = self.leased(pick)
        self.run(self.settled(lease, settlement))
        self.rows.remove(row)
        self.ended.append(lease)
        reason = (settlement.reason,) if settlement.state == "filtered" else ()
        self.ledger[row.event.source, settlement.state, *reason] += 1
        if settlement.state == "dead":
            self.dead.append((row, settlement, self.clock.now()))

    @precondition(lambda self: self.ended)
    @rule(pick=picks, state=st.sampled_from(["delivered", "filtered", "dead"]))
    def settle_again(self, pick: int, state: Any) -> None:
        lease = self.ended[pick % len(self.ended)]
        self.run(self.settled(lease, Settlement(state, "again")))

    @precondition(any_leased)
    @rule(
        pick=picks, seconds=st.integers(-1, 60), done=digests, tried=st.booleans(),
        app=st.sampled_from(["", "ko-ios", "ko-android"]), refused=st.booleans(),
    )  # fmt: skip
    def park(
        self, pick: int, seconds: int, done: frozenset[bytes], tried: bool, app: str, refused: bool
    ) -> None:
        row, lease = self.leased(pick)
        row.due, row.done, row.lease = self.clock.now() + seconds, row.done | done, None
        if tried:
            row.attempts += 1
            row.first_attempt_at = row.first_attempt_at or self.clock.now()
        if refused:
            row.refusal = Refusal(PLAIN, REFUSAL)
        parked = Parked(row.due, app, row.attempts, row.first_attempt_at, row.done, row.refusal)
        self.run(self.spool.park(lease, parked))

    @rule(seconds=st.sampled_from([1.0, 30.0, 99.0, WINDOW, 101.0, 250.0]))
    def advance(self, seconds: float) -> None:
        self.run(self.clock.advance(seconds))

    @rule()
    def reopen(self) -> None:
        self.run(self.database.close())
        self.open()

    @rule()
    def crash(self) -> None:
        before = self.path
        self.files += 1
        copy_as_killed(before, self.path)
        self.run(self.database.close())
        self.open()

    @invariant()
    def the_queue_holds_what_is_pending_in_order_of_arrival(self) -> None:
        rows = self.database.read("SELECT source, message_id, raw FROM events ORDER BY id")
        events = [row.event for row in self.rows]
        assert rows == [(event.source, event.message_id, event.raw) for event in events]

    @invariant()
    def the_ledger_says_what_happened_and_balances(self) -> None:
        connection = open_for_reading(self.path)
        found = read_counts(connection, self.clock.now())
        letters = read_letters(connection, Which(), 1_000)
        connection.close()
        assert all(balances(each) for each in found.values())
        for source in ("acme", "zoo"):
            assert found.get(source, Counts()) == self.counts(source)
        assert letters == [self.letter(*dead) for dead in reversed(self.in_order_of_id())]

    def in_order_of_id(self) -> list[tuple[Row, Settlement, float]]:
        def id_(dead: tuple[Row, Settlement, float]) -> int:
            lease = dead[0].lease
            assert lease is not None
            return lease.id

        return sorted(self.dead, key=id_)

    def counts(self, source: str) -> Counts:
        def reasons(outcome: str) -> dict[str, int]:
            return {
                key[2]: number
                for key, number in self.ledger.items()
                if key[:2] == (source, outcome)
            }

        times = [row.event.received_at for row in self.rows if row.event.source == source]
        return Counts(
            received=self.ledger[source, "received"],
            rejected=reasons("rejected"),
            duplicate=self.ledger[source, "duplicate"],
            filtered=reasons("filtered"),
            pending=len(times),
            delivered=self.ledger[source, "delivered"],
            dead=self.ledger[source, "dead"],
            oldest_pending_seconds=self.clock.now() - min(times) if times else None,
        )

    def letter(self, row: Row, settlement: Settlement, died_at: float) -> DeadLetter:
        assert row.lease is not None
        event, raw, null = row.event, msgspec.Raw, msgspec.Raw(b"null")
        request = (
            b'{"method":"POST","url":"https://kochava.test/track",'
            b'"headers":{"Kochava-Auth-Token":"(not kept)"},"body":"{\\"a\\":1}"}'
        )
        return DeadLetter(
            id=row.lease.id,
            source=event.source,
            message_id=event.message_id,
            type=event.type,
            received_at=event.received_at,
            died_at=died_at,
            attempts=row.attempts + (settlement.request is not None),
            reason=settlement.reason,
            detail=settlement.detail,
            request=raw(request) if settlement.request else null,
            response=raw(msgspec.json.encode(REFUSAL)) if settlement.response else null,
            message=raw(event.raw),
        )

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.run(self.database.close())
            self.loop.close()
            shutil.rmtree(self.folder)


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(
    max_examples=40, stateful_step_count=50, deadline=None, derandomize=True, database=None
)
