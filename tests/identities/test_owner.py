"""Whose a device is, by any of its ids, as a postback names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from proxy.database import Database
from proxy.identities import known
from proxy.identities.known import KnownDevices
from proxy.segment import Identity, Message
from tests.identities.test_known import audience, database, devices, found, phone, seen, written
from tests.support import IOS_DEVICE, FakeClock, make_message

__all__ = ["database", "devices"]  # the fixtures

ONE = "1".rjust(16, "0")
TWO = "2".rjust(16, "0")


def user(devices: KnownDevices, *ids: str, source: str = "acme") -> str | None:
    owner = devices.owner_of(source, ids)
    return owner.user_id if owner else None


async def test_a_device_has_the_user_and_the_anonymous_id_that_were_last_seen_with_it(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    devices.learn("acme", seen("u-1", "a-1"))
    devices.learn("acme", seen("u-2"))
    devices.learn("acme", seen(anonymous="a-3"))
    await written(database)
    expected = Identity(user_id="u-2", anonymous_id="a-3")
    assert devices.owner_of("acme", [ONE]) == expected
    again = KnownDevices(database.read, database, clock)
    assert again.owner_of("acme", [ONE]) == expected
    assert again.owner_of("zoo", [ONE]) is None
    assert again.owner_of("acme", []) is None


@pytest.mark.parametrize("case", [str.lower, str.upper])
@pytest.mark.parametrize("key", ["id", "advertisingId"])
async def test_each_id_of_a_device_leads_to_its_user_in_whatever_case(
    devices: KnownDevices, database: Database, key: str, case: Any
) -> None:
    devices.learn("acme", make_message(user_id="u-1", context={"device": IOS_DEVICE}))
    await written(database)
    assert user(devices, case(IOS_DEVICE[key])) == "u-1"


async def test_the_first_id_that_is_known_decides(
    devices: KnownDevices, database: Database
) -> None:
    devices.learn("acme", seen("u-1", id_="1"))
    devices.learn("acme", seen("u-2", id_="2"))
    await written(database)
    assert user(devices, "unknown", TWO, ONE) == "u-2"
    assert user(devices, "unknown", "\ud800", "") is None


async def test_a_device_that_is_handed_back_is_the_first_user_s_again(
    devices: KnownDevices, database: Database
) -> None:
    for who in ("u-1", "u-2", "u-1", "u-2", "u-1"):
        devices.learn("acme", seen(who, advertisingId="adv"))
        await written(database)
        assert user(devices, ONE) == user(devices, "adv") == who


async def test_an_id_is_of_the_device_that_was_last_seen_with_it(
    devices: KnownDevices, database: Database
) -> None:
    """A phone whose app was installed anew has another id, and the same advertising id."""
    for who, id_ in (("u-1", "1"), ("u-2", "2"), ("u-1", "1")):
        devices.learn("acme", seen(who, id_=id_, advertisingId="adv"))
        await written(database)
        assert user(devices, "adv") == who
    assert user(devices, TWO) == "u-2"


async def test_an_id_that_comes_back_to_a_device_comes_back_with_both_persons(
    devices: KnownDevices, database: Database
) -> None:
    """Though each of them was written for that device before."""
    first = [seen("u-1", id_="1", advertisingId="adv"), seen(None, "a-1", "1", advertisingId="adv")]
    for message in (*first, seen("u-2", "a-2", "2", advertisingId="adv"), *first):
        devices.learn("acme", message)
        await written(database)
    assert devices.owner_of("acme", ["adv"]) == Identity(user_id="u-1", anonymous_id="a-1")


async def test_an_id_that_a_device_has_no_longer_leads_nowhere(
    devices: KnownDevices, database: Database
) -> None:
    devices.learn("acme", seen("u-1", advertisingId="adv-1"))
    devices.learn("acme", seen("u-1", advertisingId="adv-2"))
    await written(database)
    assert [user(devices, id_) for id_ in ("adv-1", "adv-2")] == [None, "u-1"]
    devices.learn("acme", seen("u-1", advertisingId="adv-2", adTrackingEnabled=False))
    await written(database)
    assert [user(devices, id_) for id_ in ("adv-2", ONE)] == [None, "u-1"]


@pytest.mark.parametrize("before", [{"user": "old"}, {"anonymous": "old"}], ids=["user", "anon"])
@pytest.mark.parametrize("on_disk", [False, True], ids=["at once", "later"])
async def test_after_an_alias_a_device_is_the_new_user_s(
    devices: KnownDevices, database: Database, before: dict[str, str], on_disk: bool
) -> None:
    devices.learn("acme", seen(**before))
    if on_disk:
        await written(database)
    devices.learn("acme", make_message("alias", user_id="new", previous_id="old"))
    await written(database)
    assert user(devices, ONE) == "new"


async def test_an_alias_takes_no_device_from_who_came_after_the_previous_user(
    devices: KnownDevices, database: Database
) -> None:
    devices.learn("acme", seen("old"))
    devices.learn("acme", seen("other"))
    devices.learn("acme", make_message("alias", user_id="new", previous_id="old"))
    await written(database)
    assert user(devices, ONE) == "other"
    assert found(devices, "new") == ["1"]


async def test_many_who_share_an_anonymous_id_keep_their_devices(
    devices: KnownDevices, database: Database
) -> None:
    for number in "12":
        context = phone(number)
        devices.learn("acme", make_message("identify", user_id=f"u-{number}",
                                           anonymous_id="guest", context=context))  # fmt: skip
        await written(database)
    assert [user(devices, id_) for id_ in (ONE, TWO)] == ["u-1", "u-2"]


async def test_a_device_without_ids_leads_to_its_user_and_takes_no_ids_away(
    devices: KnownDevices, database: Database
) -> None:
    """Some SDKs give a hash for an id, and know the advertising id only after a while."""
    hashed = {"type": "android", "id": "f" * 64}
    for more in ({}, {"advertisingId": "adv"}, {}):
        context = {"device": {**hashed, **more}}
        devices.learn("acme", make_message(user_id="u-1", context=context))
        await written(database)
    assert [device.ids for device in devices.devices_of("acme", audience("u-1"))] == [
        {"adid": "adv"}
    ]
    devices.learn("acme", make_message(user_id="u-2", context={"device": hashed}))
    await written(database)
    assert [user(devices, id_) for id_ in ("f" * 64, "adv")] == ["u-2", "u-1"]


async def test_a_device_that_passes_on_before_it_names_its_ids_passes_on_with_them(
    devices: KnownDevices, database: Database
) -> None:
    hashed = {"type": "android", "id": "f" * 64}
    for who, more in (
        ("u-1", {"advertisingId": "adv"}),
        ("u-2", {}),
        ("u-2", {"advertisingId": "adv"}),
    ):
        context = {"device": {**hashed, **more}}
        devices.learn("acme", make_message(user_id=who, context=context))
        await written(database)
    assert user(devices, "f" * 64) == user(devices, "adv") == "u-2"
    assert [each.ids for each in devices.devices_of("acme", audience("u-2"))] == [{"adid": "adv"}]


async def test_a_forbidden_advertising_id_goes_though_the_device_named_none_just_before(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    hashed = {"type": "android", "id": "f" * 64}

    def message(**more: Any) -> Message:
        return make_message(user_id="u-1", context={"device": {**hashed, **more}})

    devices.learn("acme", message(advertisingId="adv"))
    await written(database)
    again = KnownDevices(database.read, database, clock)
    again.learn("acme", message())
    again.learn("acme", message(adTrackingEnabled=False))
    await written(database)
    assert user(again, "adv") is None
    assert [each.ids for each in again.devices_of("acme", audience("u-1"))] == [{}]


async def test_a_browser_is_no_device(devices: KnownDevices, database: Database) -> None:
    devices.learn("acme", make_message("page", user_id="u-1", anonymous_id="a-1"))
    await written(database)
    assert devices.owner_of("acme", ["a-1"]) is None
    assert database.read("SELECT * FROM devices") == []


async def test_what_is_known_costs_no_write(devices: KnownDevices, database: Database) -> None:
    messages = [seen("u-1", "a-1", advertisingId="adv"), seen("u-1"), seen(anonymous="a-1")]
    devices.learn("acme", messages[0])
    await written(database)
    writes = 0

    def count(*_: object, **__: object) -> Any:
        nonlocal writes
        writes += 1

    devices._store = count  # type: ignore[method-assign]
    devices.learn("acme", messages[0])
    devices.learn("acme", seen("u-1", "a-1", advertisingId="adv"))
    assert writes == 0


async def test_what_is_known_on_the_disk_alone_changes_no_page(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    message = seen("u-1", "a-1", advertisingId="adv")
    devices.learn("acme", message)
    await written(database)
    changes = 0

    def changed(*_: object) -> None:
        nonlocal changes
        changes += 1

    await database.write(lambda _: database._committer.connection.set_update_hook(changed))
    KnownDevices(database.read, database, clock).learn("acme", message)
    await written(database)
    await database.write(lambda _: database._committer.connection.set_update_hook(None))
    assert changes == 0


async def test_workers_learn_from_and_forget_for_each_other(
    database: Database, clock: FakeClock
) -> None:
    one, two = (KnownDevices(database.read, database, clock, shared=True) for _ in range(2))
    for worker, who in ((one, "u-1"), (two, "u-2"), (one, "u-1"), (two, "u-1"), (one, "u-1")):
        worker.learn("acme", seen(who, advertisingId="adv"))
        await written(database)
        assert user(one, "adv") == user(two, ONE) == who
    two.forget("acme", make_message("delete", user_id="u-1"))
    await written(database)
    assert user(one, ONE) is None
    one.learn("acme", seen("u-1", advertisingId="adv"))
    await written(database)
    assert user(two, "adv") == "u-1"
    assert found(two, "u-1") == ["1"]


async def test_a_file_that_knew_no_way_back_gains_it(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "spool.db"
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TABLE devices (source TEXT NOT NULL, person TEXT NOT NULL, device TEXT NOT NULL,"
        " details BLOB NOT NULL, seen_at REAL NOT NULL, PRIMARY KEY (source, person, device))"
        " WITHOUT ROWID"
    )
    details = b'{"platform":"android","kochava_device_id":"%s","ids":{"android_id":"%s"}}'
    connection.execute(
        "INSERT INTO devices VALUES ('acme', 'u:u-1', ?, ?, ?)",
        (ONE, details % (ONE.encode(), ONE.encode()), clock.now()),
    )
    connection.close()
    database = Database(path, (known.SCHEMA,))
    devices = KnownDevices(database.read, database, clock)
    assert database.read("SELECT number FROM device_count") == [(1,)]
    assert found(devices, "u-1") == ["1"]
    assert user(devices, ONE) is None
    devices.learn("acme", seen("u-1"))
    await written(database)
    assert user(devices, ONE) == "u-1"
    await database.close()


async def test_what_one_device_loses_is_not_lost_to_another_of_the_same_user(
    devices: KnownDevices, database: Database
) -> None:
    identify = make_message("identify", user_id="u-1", anonymous_id="a-1", context=phone("3"))
    for message in (
        seen("u-1", id_="1", advertisingId="adv"),
        seen(anonymous="a-1", id_="1"),
        seen("u-1", "a-1", id_="2", advertisingId="adv"),
        identify,  # hands over device 1 without the advertising id that the user's had
    ):
        devices.learn("acme", message)
        await written(database)
    assert user(devices, "adv") == "u-1"
