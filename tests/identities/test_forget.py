"""A user who asks to be forgotten is, whether what is known of them is on the disk or not yet."""

from __future__ import annotations

import asyncio

import apsw
import pytest

from proxy.database import Database
from proxy.errors import StorageFull
from proxy.identities.known import KnownDevices
from proxy.segment import Message
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
    assert found(KnownDevices(database.read, database.write, clock), "u-1") == []
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
    assert found(KnownDevices(database.read, database.write, clock), "u-1") == ["2"]


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
    assert found(KnownDevices(database.read, database.write, clock), "u-1") == ["3"]


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
