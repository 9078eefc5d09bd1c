"""How full the spool says it is."""

from __future__ import annotations

import time

import msgspec

from proxy.database import Database
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.spool.conftest import DAY
from tests.spool.helpers import events, lease_now
from tests.support import NOW, FakeClock


async def test_it_grows_with_what_waits_and_falls_when_that_is_settled(spool: SqliteSpool) -> None:
    empty = spool.usage()
    for number in range(100):
        await spool.append("acme", events(f"m-{number}", size=10_000), {})
    full = spool.usage()
    assert 1_000_000 < full.bytes - empty.bytes < 2_000_000
    for leased in lease_now(spool, 100):
        await spool.settle(leased, Settlement("delivered"))
    assert spool.usage().bytes - empty.bytes < 100_000


async def test_dead_letters_take_room_too(spool: SqliteSpool) -> None:
    await spool.append("acme", events("m-1", size=500_000), {})
    (leased,) = lease_now(spool, 1)
    await spool.settle(leased, Settlement("dead", "refused"))
    usage = spool.usage()
    assert usage.bytes > 500_000
    assert usage.oldest_received_at is None


async def test_the_oldest_event_is_the_first_that_is_not_settled(
    spool: SqliteSpool, database: Database, clock: FakeClock
) -> None:
    assert spool.usage().oldest_received_at is None
    for number in range(3):
        (event,) = events(f"m-{number}")
        event = msgspec.structs.replace(event, received_at=NOW + number)
        await spool.append("acme", [event], {})
    first, second, _ = lease_now(spool, 3)
    assert spool.usage().oldest_received_at == NOW  # leased is not settled
    await spool.settle(second, Settlement("delivered"))
    assert spool.usage().oldest_received_at == NOW
    await spool.settle(first, Settlement("delivered"))
    assert spool.usage().oldest_received_at == NOW + 2
    again = SqliteSpool(database, clock, DAY)
    assert again.usage() == spool.usage()


async def test_looking_costs_the_same_however_much_waits(spool: SqliteSpool) -> None:
    costs = []
    for number in range(2):
        began = time.perf_counter()
        for _ in range(50):
            spool.usage()
        costs.append(time.perf_counter() - began)
        await spool.append("acme", events(*(f"{number}-{n}" for n in range(20_000))), {})
    assert costs[1] < costs[0] * 5 + 0.05
