"""The ledger balances, and is seen to fail when it does not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy.database import Database
from proxy.observe.stats import read_stats
from proxy.spool import schema
from proxy.spool.base import Counts
from proxy.spool.ledger import balances
from proxy.spool.sqlite import SqliteSpool
from tests.support import NOW, FakeClock, make_event

BALANCED = Counts(
    received=21, rejected={"a": 1, "b": 2}, duplicate=3, filtered={"c": 4, "d": 5}, pending=1,
    delivered=2, dead=3,
)  # fmt: skip


def test_received_is_the_sum_of_all_fates() -> None:
    assert balances(BALANCED)
    assert balances(Counts())


@pytest.mark.parametrize("field", ["received", "duplicate", "pending", "delivered", "dead"])
@pytest.mark.parametrize("by", [-1, 1])
def test_one_message_unaccounted_for_is_seen(field: str, by: int) -> None:
    assert not balances(msgspec.structs.replace(BALANCED, **{field: getattr(BALANCED, field) + by}))


@pytest.mark.parametrize("field", ["rejected", "filtered"])
def test_one_reason_unaccounted_for_is_seen(field: str) -> None:
    assert not balances(msgspec.structs.replace(BALANCED, **{field: {}}))


async def test_one_source_out_of_balance_is_enough(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    database = Database(path, (schema.SCHEMA,))
    spool = SqliteSpool(database, clock, 86_400.0)
    event = make_event({"type": "track"})
    await spool.append("acme", [event], {})
    await spool.append("other", [msgspec.structs.replace(event, source="other")], {})
    try:
        stats = read_stats(path, ["idle"], NOW + 5)
        assert (set(stats.sources), stats.balanced) == ({"acme", "other", "idle"}, True)
        assert stats.sources["acme"].oldest_pending_seconds == 5
        assert stats.sources["idle"] == Counts()
        await database.write(lambda cursor: list(cursor.execute("DELETE FROM events WHERE id = 1")))
        assert not read_stats(path, [], NOW).balanced
    finally:
        await database.close()
