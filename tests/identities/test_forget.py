"""A user who asks to be forgotten is, whether what is known of them is on the disk or not yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import apsw
import msgspec
import pytest

from proxy.database import Database
from proxy.errors import StorageFull
from proxy.identities.known import KnownDevices
from proxy.segment import Identity, Message
from tests.identities.test_known import database, devices, found, seen, written
from tests.support import FakeClock, make_message

__all__ = ["database", "devices"]  # the fixtures


def deletion(user: str | None = None, anonymous: str | None = None) -> Message:
    return make_message("delete", user_id=user, anonymous_id=anonymous)


def rows(database: Database) -> list[tuple[str, str]]:
    """Who is known on the disk."""
    return [
        (source, person)
        for source, person in database.read("SELECT source, person FROM devices ORDER BY 1, 2")
    ]


@pytest.mark.parametrize("on_disk", [False, True], ids=["not yet on the disk", "on the disk"])
async def test_a_user_is_forgotten_at_once_and_for_good(
    devices: KnownDevices, database: Database, clock: FakeClock, on_disk: bool
) -> None:
    for id_ in "123":
        devices.learn("acme", seen("u-1", id_=id_))
    if on_disk:
        await written(database)
    devices.forget("acme", deletion("u-1"))
    assert found(devices, "u-1") == []
    await written(database)
    assert found(devices, "u-1") == []
    assert found(KnownDevices(database.read, database, clock), "u-1") == []
    assert rows(database) == []


async def test_nobody_else_is_forgotten(devices: KnownDevices, database: Database) -> None:
    devices.learn("acme", seen("u-1"))
    devices.learn("acme", seen("u-10", id_="10"))
    devices.learn("acme", seen(anonymous="u-1", id_="11"))
    devices.learn("other", seen("u-1", id_="12"))
    await written(database)
    devices.forget("acme", deletion("u-1"))
    await written(database)
    assert rows(database) == [("acme", "a:u-1"), ("acme", "u:u-10"), ("other", "u:u-1")]
    assert found(devices, "u-10") == ["10"]
    assert found(devices, "u-1", "other") == ["12"]


async def test_both_ids_of_a_deletion_are_forgotten(
    devices: KnownDevices, database: Database
) -> None:
    devices.learn("acme", seen("u-1", "a-1"))
    devices.forget("acme", deletion("u-1", "a-1"))
    await written(database)
    assert rows(database) == []


@pytest.mark.parametrize("on_disk", [False, True], ids=["before it is on the disk", "later"])
async def test_who_comes_back_with_the_same_device_is_known_again(
    devices: KnownDevices, database: Database, clock: FakeClock, on_disk: bool
) -> None:
    for id_ in "12":
        devices.learn("acme", seen("u-1", id_=id_))
    await written(database)
    devices.forget("acme", deletion("u-1"))
    if on_disk:
        await written(database)
    devices.learn("acme", seen("u-1", id_="2"))
    assert found(devices, "u-1") == ["2"]
    await written(database)
    assert found(devices, "u-1") == ["2"]
    assert found(KnownDevices(database.read, database, clock), "u-1") == ["2"]


async def test_forgotten_devices_are_handed_to_nobody(
    devices: KnownDevices, database: Database
) -> None:
    devices.learn("acme", seen("u-1"))
    await written(database)
    devices.forget("acme", deletion("u-1"))
    devices.learn("acme", make_message("alias", user_id="new", previous_id="u-1"))
    assert found(devices, "new") == []
    await written(database)
    assert rows(database) == []


async def test_forgetting_twice_is_forgetting(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    devices.learn("acme", seen("u-1"))
    await written(database)
    for _ in range(2):
        devices.forget("acme", deletion("u-1"))
    devices.learn("acme", seen("u-1", id_="2"))
    devices.forget("acme", deletion("u-1"))
    await written(database)
    devices.learn("acme", seen("u-1", id_="3"))
    await written(database)
    assert found(devices, "u-1") == ["3"]
    assert found(KnownDevices(database.read, database, clock), "u-1") == ["3"]


async def test_on_a_full_disk_a_user_stays_forgotten_until_there_is_room(
    devices: KnownDevices, database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.database.RETRY_SECONDS", 0.01)
    devices.learn("acme", seen("u-1"))
    await written(database)
    room = asyncio.Event()

    def full(_: apsw.Cursor) -> None:
        if not room.is_set():
            raise apsw.FullError("no room")

    waiting = database.write(full, must_land=True)
    devices.forget("acme", deletion("u-1"))
    with pytest.raises(StorageFull):
        await database.write(lambda _: None)
    assert found(devices, "u-1") == []
    room.set()
    await waiting
    await written(database)
    assert found(devices, "u-1") == []
    assert rows(database) == []


async def test_a_deletion_is_on_the_disk_before_its_settlement(
    devices: KnownDevices, database: Database
) -> None:
    devices.learn("acme", seen("u-1"))
    await written(database)
    devices.forget("acme", deletion("u-1"))
    settled = database.write(
        lambda cursor: list(cursor.execute("SELECT count(*) FROM devices")), must_land=True
    )
    assert await settled == [(0,)]


async def test_without_a_file_to_write_a_forgotten_user_is_unknown_and_the_file_as_it_was(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    devices.learn("acme", seen("u-1"))
    await written(database)
    explaining = KnownDevices(database.read, None, clock)
    explaining.learn("acme", seen("u-1", id_="2"))
    explaining.forget("acme", deletion("u-1"))
    assert found(explaining, "u-1") == []
    assert found(devices, "u-1") == ["1"]


@pytest.mark.parametrize("on_disk", [False, True], ids=["not yet on the disk", "on the disk"])
async def test_a_user_s_devices_are_known_by_nobody_s_name_either(
    devices: KnownDevices, database: Database, on_disk: bool
) -> None:
    devices.learn("acme", seen("u-1", "a-1", advertisingId="adv"))
    devices.learn("acme", seen(anonymous="a-2"))
    devices.learn("acme", seen(anonymous="a-2", id_="2"))
    if on_disk:
        await written(database)
    devices.forget("acme", deletion("u-1"))
    assert devices.devices_of("acme", make_message(anonymous_id="a-1")) == []
    await written(database)
    assert rows(database) == [("acme", "a:a-2")]
    assert database.read("SELECT id, anonymous_id FROM device_ids") == [("2".rjust(16, "0"), "a-2")]
    assert devices.owner_of("acme", ["adv", "1".rjust(16, "0")]) is None


async def test_another_user_of_the_same_device_is_not_forgotten(
    devices: KnownDevices, database: Database
) -> None:
    devices.learn("acme", seen("u-1", "a-1"))
    devices.learn("acme", seen("u-2", "a-2"))
    await written(database)
    devices.forget("acme", deletion("u-1"))
    await written(database)
    assert rows(database) == [("acme", "u:u-2")]
    owner = devices.owner_of("acme", ["1".rjust(16, "0")])
    assert owner == Identity(user_id="u-2")


def received(seconds: float, message: Message) -> Message:
    moment = message.received_at + timedelta(seconds=seconds)
    return msgspec.structs.replace(message, received_at=moment)


async def test_what_was_received_before_a_deletion_is_not_learnt_after_it(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    """An event that has to be tried again speaks of its user each time."""
    old = [
        seen("u-1", "a-1"),
        seen(anonymous="a-1"),
        make_message("alias", user_id="u-3", previous_id="u-1"),
    ]
    devices.learn("acme", old[0])
    await written(database)
    devices.forget("acme", received(10, deletion("u-1")))
    await written(database)
    for known in (devices, KnownDevices(database.read, database, clock)):
        for message in old:
            known.learn("acme", message)
            await written(database)
            assert rows(database) == []
            assert known.devices_of("acme", message) == []
    devices.learn("acme", received(11, old[0]))
    await written(database)
    assert found(devices, "u-1") == ["1"]
    assert rows(database) == [("acme", "a:a-1"), ("acme", "u:u-1")]


async def test_forgetting_reads_over_nobody_else(devices: KnownDevices, database: Database) -> None:
    devices.learn("acme", seen("u-1", "a-1"))
    await written(database)
    statements: dict[str, Any] = {}

    def trace(_cursor: object, statement: str, values: Any) -> bool:
        statements[statement] = values
        return True

    database._committer.connection.exec_trace = trace
    devices.forget("acme", deletion("u-1"))
    await written(database)
    database._committer.connection.exec_trace = None
    plans = [
        str(row[3])
        for statement, values in statements.items()
        if statement.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")
        for row in database.read(f"EXPLAIN QUERY PLAN {statement}", values or ())
    ]
    assert len(plans) >= 6
    assert not [plan for plan in plans if plan.startswith("SCAN")]
    keys = ("source=? AND person=?", "source=? AND device=?", "source=? AND id=?", "person=?)")
    assert all(any(key in plan for key in keys) for plan in plans)
