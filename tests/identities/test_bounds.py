"""What is remembered has bounds, by number and by age; the oldest goes first, little by little."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from proxy.config import Identities
from proxy.database import Database
from proxy.identities import known, rows
from proxy.identities.known import KnownDevices
from tests.identities.test_forget import deletion
from tests.identities.test_known import database, found, seen, written
from tests.support import FakeClock, make_message

__all__ = ["database"]  # the fixture

DAY = 86_400.0


def bounded(database: Database, clock: FakeClock, **bounds: Any) -> KnownDevices:
    return KnownDevices(database.read, database, clock, Identities(**bounds))


def number(database: Database) -> int:
    """Of the rows, as counted, which is as many as there are."""
    counted = database.read("SELECT number FROM device_count")
    assert counted == database.read("SELECT count(*) FROM devices")
    return int(counted[0][0])


async def fill(database: Database, clock: FakeClock, devices: int) -> None:
    """Each of a user and a moment of its own."""
    known = bounded(database, clock)
    for each in range(1, devices + 1):
        known.learn("acme", seen(f"u-{each}", id_=str(each), advertisingId=f"adv-{each}"))
        await clock.advance(1)
    await written(database)


async def test_beyond_their_number_the_oldest_are_forgotten_both_ways(
    database: Database, clock: FakeClock
) -> None:
    devices = bounded(database, clock, max_devices=3)
    for each in range(1, 6):
        source = "acme" if each % 2 else "zoo"
        devices.learn(source, seen(f"u-{each}", id_=str(each), advertisingId=f"adv-{each}"))
        await written(database)
        await clock.advance(1)
    assert number(database) == 3
    assert [found(devices, "u-1"), found(devices, "u-2", "zoo")] == [[], []]
    assert [found(devices, "u-3"), found(devices, "u-4", "zoo")] == [["3"], ["4"]]
    assert devices.owner_of("acme", ["adv-1"]) is None
    assert devices.owner_of("acme", ["adv-3"]) is not None
    assert len(database.read("SELECT * FROM device_ids")) == 6


async def test_who_is_forgotten_for_want_of_room_is_learnt_again_at_once(
    database: Database, clock: FakeClock
) -> None:
    devices = bounded(database, clock, max_devices=1)
    for who in "1212":
        devices.learn("acme", seen(f"u-{who}", id_=who))
        await written(database)
        await clock.advance(1)
        assert found(devices, f"u-{who}") == [who]
        assert devices.owner_of("acme", [who.rjust(16, "0")]) is not None
        assert number(database) == 1


async def test_what_was_not_seen_for_so_long_is_forgotten_though_nobody_comes(
    database: Database, clock: FakeClock
) -> None:
    devices = bounded(database, clock, max_age_days=30)
    devices.learn("acme", seen("u-1", id_="1"))
    await written(database)
    await clock.advance(20 * DAY)
    devices.learn("acme", seen("u-2", id_="2"))
    devices.learn("acme", seen("u-2", id_="1"))
    await written(database)
    await clock.advance(11 * DAY)
    devices.prune()
    await written(database)
    assert [found(devices, "u-1"), found(devices, "u-2")] == [[], ["1", "2"]]
    await clock.advance(20 * DAY)
    devices.prune()
    await written(database)
    assert number(database) == 0
    assert database.read("SELECT * FROM device_ids") == []


async def test_a_device_that_comes_again_and_again_does_not_age(
    database: Database, clock: FakeClock
) -> None:
    devices = bounded(database, clock, max_age_days=3)
    for _ in range(20):
        devices.learn("acme", seen("u-1"))
        devices.learn("acme", seen(anonymous="a-1"))
        await written(database)
        await clock.advance(0.7 * DAY)
        devices.prune()
        await written(database)
        assert found(devices, "u-1") == ["1"]


async def test_smaller_bounds_are_reached_in_pieces(
    database: Database, clock: FakeClock, monkeypatch: Any
) -> None:
    monkeypatch.setattr(rows, "PIECE", 10)
    await fill(database, clock, 45)
    devices = bounded(database, clock, max_devices=20)
    left = []
    for _ in range(5):
        devices.prune()
        devices.prune()  # one at a time
        await written(database)
        left.append(number(database))
    assert left == [35, 25, 20, 20, 20]
    assert found(devices, "u-25") == []
    assert found(devices, "u-26") == ["26"]


async def test_what_is_too_much_costs_each_new_device_the_same_however_much_it_is(
    database: Database, clock: FakeClock
) -> None:
    def watch(handler: Callable[[], bool] | None, cursor: apsw.Cursor) -> None:
        cursor.connection.set_progress_handler(handler, 10)

    await fill(database, clock, 600)
    steps = []
    for max_devices in (590, 10):
        devices = bounded(database, clock, max_devices=max_devices)
        before, ticks = number(database), 0

        def step() -> bool:
            nonlocal ticks
            ticks += 1
            return False

        await database.write(partial(watch, step))
        devices.learn("acme", seen(f"new-{max_devices}", id_=f"f{max_devices}"))
        await written(database)
        await database.write(partial(watch, None))
        assert number(database) == before - 1  # one more, two less
        steps.append(ticks)
    assert max(steps) < 1.5 * min(steps)


async def test_when_nothing_is_too_much_looking_costs_no_transaction(
    database: Database, clock: FakeClock
) -> None:
    await fill(database, clock, 3)
    commits = database.commits
    bounded(database, clock).prune()
    KnownDevices(database.read, None, clock, Identities(max_devices=1)).prune()
    await written(database)
    assert database.commits == commits + 1  # of `written` itself


async def test_rows_are_counted_in_a_file_once_and_not_at_every_start(
    tmp_path: Path, clock: FakeClock
) -> None:
    database = Database(tmp_path / "other.db", (known.SCHEMA,))
    await fill(database, clock, 20)
    await database.close()
    database = Database(tmp_path / "other.db", (known.SCHEMA,))
    ticks = 0

    def step() -> bool:
        nonlocal ticks
        ticks += 1
        return False

    def start(_: object) -> None:
        database._committer.connection.set_progress_handler(step, 1)
        database._committer.connection.execute(known.SCHEMA)
        database._committer.connection.set_progress_handler(None)

    await database.write(start)
    before = ticks
    await fill(database, clock, 800)
    await database.write(start)
    assert ticks - before < before + 50
    await database.close()


async def test_deletions_are_remembered_no_longer_than_devices(
    database: Database, clock: FakeClock
) -> None:
    devices = bounded(database, clock, max_age_days=30)
    devices.learn("acme", seen("u-1", "a-1"))
    devices.forget("acme", deletion("u-1"))
    await written(database)
    assert len(database.read("SELECT * FROM deletions")) == 2
    await clock.advance(31 * DAY)
    devices.prune()
    await written(database)
    assert database.read("SELECT * FROM deletions") == []


async def test_the_devices_of_aliases_are_bounded_as_well(
    database: Database, clock: FakeClock
) -> None:
    devices = bounded(database, clock, max_devices=6)
    for each in range(1, 6):
        devices.learn("acme", seen("u-1", id_=str(each)))
        await clock.advance(1)
    devices.learn("acme", make_message("alias", user_id="u-2", previous_id="u-1"))
    await written(database)
    assert number(database) == 6
