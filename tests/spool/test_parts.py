"""Several processes deliver from one file: each its own devices, and woken for those alone."""

from __future__ import annotations

from collections import defaultdict

from proxy.database import Database
from proxy.spool.base import Parked, Part
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.spool.conftest import DAY
from tests.spool.helpers import events, ids, lease_now, pending
from tests.support import NOW, FakeClock

WORKERS = 3


def spools(database: Database, clock: FakeClock) -> tuple[list[SqliteSpool], defaultdict[int, int]]:
    woken: defaultdict[int, int] = defaultdict(int)

    def wake(worker: int) -> None:
        woken[worker] += 1
        made[worker].heard()

    made = [
        SqliteSpool(database, clock, DAY, part=Part(worker, WORKERS), wake=wake)
        for worker in range(WORKERS)
    ]
    return made, woken


async def test_each_event_is_leased_by_one_of_them_and_devices_stay_together(
    database: Database, clock: FakeClock
) -> None:
    made, _ = spools(database, clock)
    for number in range(60):
        await made[number % WORKERS].append(
            "acme", events(f"m-{number}", device=f"d-{number % 20}"), {}
        )
    seen: list[str] = []
    while leased := [each for spool in made for each in lease_now(spool)]:
        devices = [each.event.device for each in leased]
        assert len(devices) == len(set(devices))
        seen += ids(leased)
        for each in leased:
            owner = made[each.event.device % WORKERS]
            await owner.settle(each, Settlement("delivered"))
    assert sorted(seen) == sorted(f"m-{number}" for number in range(60))
    for device in range(20):
        mine = [int(id_[2:]) for id_ in seen if int(id_[2:]) % 20 == device]
        assert mine == sorted(mine)
    assert pending(database) == []


async def test_only_those_are_woken_that_have_something_to_deliver(
    database: Database, clock: FakeClock
) -> None:
    made, woken = spools(database, clock)
    batch = events("m-1")
    owner = batch[0].device % WORKERS
    await made[(owner + 1) % WORKERS].append("acme", batch, {})
    assert woken == {owner: 1}
    assert ids(lease_now(made[owner])) == ["m-1"]
    await made[owner].append("acme", events("m-2", device="m-1"), {})
    assert woken == {owner: 1}


async def test_what_one_parked_is_never_leased_by_another(
    database: Database, clock: FakeClock
) -> None:
    made, _ = spools(database, clock)
    batch = events(*(f"m-{number}" for number in range(30)))
    await made[0].append("acme", batch, {})
    for spool in made:
        for leased in lease_now(spool):
            await spool.park(leased, Parked(NOW + 1, "ko-ios", 1, NOW))
    await clock.advance(1)
    again = [{each.event.device % WORKERS for each in lease_now(spool)} for spool in made]
    assert again == [{0}, {1}, {2}]
