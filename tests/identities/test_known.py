from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from proxy.database import Database
from proxy.device import Device
from proxy.errors import StorageFull
from proxy.identities import known
from proxy.identities.known import MAX_DEVICES, KnownDevices
from proxy.segment import Message
from tests.support import FakeClock, make_message


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "spool.db", (known.SCHEMA,))
    yield database
    await database.close()


@pytest.fixture
def devices(database: Database, clock: FakeClock) -> KnownDevices:
    return KnownDevices(database.read, database, clock)


def phone(id_: str, **more: Any) -> dict[str, Any]:
    return {"device": {"type": "android", "id": id_.rjust(16, "0"), **more}}


def seen(
    user: str | None = None, anonymous: str | None = None, id_: str = "1", **more: Any
) -> Message:
    """A message from a device."""
    return make_message(user_id=user, anonymous_id=anonymous, context=phone(id_, **more))


def audience(user: str) -> Message:
    """Engage's calls name a user and no device."""
    return make_message("identify", user_id=user)


def found(devices: KnownDevices, user: str, source: str = "acme") -> list[str]:
    """What the ids of this user's devices were called above, in the order of the answer."""
    answer = devices.devices_of(source, audience(user))
    return [device.kochava_device_id.lstrip("0") for device in answer]


async def written(database: Database) -> None:
    """Returns when all that was queued before is on the disk, and known to be."""
    await database.write(lambda _: None)
    await asyncio.sleep(0)


async def test_a_device_is_known_as_soon_as_it_was_seen(devices: KnownDevices) -> None:
    devices.learn("acme", seen("u-1"))
    assert devices.devices_of("acme", audience("u-1")) == [
        Device("android", "1".rjust(16, "0"), {"android_id": "1".rjust(16, "0")})
    ]


async def test_what_was_learnt_survives_a_restart(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    devices.learn("acme", seen("u-1"))
    before = devices.devices_of("acme", audience("u-1"))
    await written(database)
    again = KnownDevices(database.read, database, clock)
    assert again.devices_of("acme", audience("u-1")) == before != []


async def test_sources_and_users_are_kept_apart_and_so_are_users_and_anonymous_ids(
    devices: KnownDevices,
) -> None:
    devices.learn("acme", seen("same"))
    devices.learn("acme", seen(anonymous="other"))
    assert found(devices, "same", source="zoo") == []
    assert found(devices, "other") == []
    assert found(devices, "same") == ["1"]


async def test_an_identify_hands_the_anonymous_devices_to_the_user(devices: KnownDevices) -> None:
    devices.learn("acme", seen(anonymous="a-1", id_="1"))
    devices.learn("acme", make_message("identify", user_id="u-1", anonymous_id="a-1"))
    assert found(devices, "u-1") == ["1"]


async def test_a_track_with_both_ids_hands_over_no_earlier_device(devices: KnownDevices) -> None:
    """A phone that changes hands keeps its anonymous id; only an identify says whose it is."""
    devices.learn("acme", seen(anonymous="a-1", id_="1"))
    devices.learn("acme", seen("u-1", "a-1", id_="2"))
    assert found(devices, "u-1") == ["2"]


@pytest.mark.parametrize("before", [{"user": "old"}, {"anonymous": "old"}], ids=["user", "anon"])
async def test_an_alias_hands_the_devices_of_the_previous_id_to_the_user(
    devices: KnownDevices, before: dict[str, str]
) -> None:
    devices.learn("acme", seen(**before))
    devices.learn("acme", make_message("alias", user_id="new", previous_id="old"))
    assert found(devices, "new") == ["1"]


@pytest.mark.parametrize("on_disk", [False, True], ids=["not yet on the disk", "on the disk"])
async def test_the_device_learnt_last_comes_first(
    devices: KnownDevices, database: Database, clock: FakeClock, on_disk: bool
) -> None:
    for id_ in "123":
        devices.learn("acme", seen(anonymous="a-1", id_=id_))
        await clock.advance(1)
        if on_disk:
            await written(database)
    identify = make_message("identify", user_id="u-1", anonymous_id="a-1", context=phone("4"))
    devices.learn("acme", identify)
    assert found(devices, "u-1") == list("4321")


async def test_each_device_is_named_once(devices: KnownDevices, database: Database) -> None:
    devices.learn("acme", seen("u-1", "a-1"))
    await written(database)
    devices.learn("acme", seen("u-1", "a-1", advertisingId="adv"))
    (device,) = devices.devices_of("acme", seen("u-1", "a-1"))
    assert device.ids["adid"] == "adv"


async def test_the_advertising_id_goes_the_day_its_user_forbids_it(
    devices: KnownDevices, database: Database
) -> None:
    def ids() -> list[dict[str, str]]:
        return [device.ids for device in devices.devices_of("acme", audience("u-1"))]

    for allowed in (False, True, False):
        message = seen("u-1", advertisingId="adv", adTrackingEnabled=allowed)
        devices.learn("acme", message)
        await written(database)
        assert ["adid" in each for each in ids()] == [allowed]


async def test_a_device_with_nothing_but_a_forbidden_advertising_id_is_known_without_it(
    devices: KnownDevices,
) -> None:
    hashed = {"type": "android", "id": "f" * 64, "advertisingId": "adv"}  # as analytics-kotlin's
    for allowed in (True, False):
        context = {"device": {**hashed, "adTrackingEnabled": allowed}}
        devices.learn("acme", make_message(user_id="u-1", context=context))
    assert [device.ids for device in devices.devices_of("acme", audience("u-1"))] == [{}]


async def test_a_person_has_a_limited_number_of_devices_the_last_ones(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    for number in range(1, MAX_DEVICES + 51):
        devices.learn("acme", seen("shared", id_=str(number)))
        await clock.advance(1)
    last = [str(number) for number in range(MAX_DEVICES + 50, 50, -1)]
    assert found(devices, "shared") == last
    await written(database)
    assert found(devices, "shared") == last
    assert database.read("SELECT count(*) FROM devices") == [(MAX_DEVICES,)]


async def test_the_same_fact_is_written_once_a_day(
    devices: KnownDevices, database: Database, clock: FakeClock
) -> None:
    first = clock.now()
    for _ in range(10):
        devices.learn("acme", seen("u-1"))
        await written(database)
        await clock.advance(3_600)
    assert database.read("SELECT seen_at FROM devices") == [(first,)]
    await clock.advance(86_400)
    devices.learn("acme", seen("u-1"))
    await written(database)
    assert database.read("SELECT seen_at FROM devices") == [(clock.now(),)]


async def test_a_fact_is_on_the_disk_before_the_settlement_of_what_taught_it(
    devices: KnownDevices, database: Database
) -> None:
    devices.learn("acme", seen("u-1"))
    settled = database.write(
        lambda cursor: list(cursor.execute("SELECT count(*) FROM devices")), must_land=True
    )
    assert await settled == [(1,)]


async def test_a_full_disk_makes_nobody_forget_what_was_learnt(
    devices: KnownDevices, database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.database.RETRY_SECONDS", 0.01)
    room = asyncio.Event()

    def full(_: apsw.Cursor) -> None:
        if not room.is_set():
            raise apsw.FullError("no room")

    waiting = database.write(full, must_land=True)
    devices.learn("acme", seen("u-1"))
    with pytest.raises(StorageFull):
        await database.write(lambda _: None)
    room.set()
    await waiting
    assert found(KnownDevices(database.read, database, clock), "u-1") == ["1"]


async def test_who_was_deleted_and_comes_back_in_the_same_transaction_is_known_at_every_moment(
    devices: KnownDevices, database: Database
) -> None:
    known_then: list[list[str]] = []
    devices.learn("acme", seen("u-1"))
    await written(database)
    devices.forget("acme", make_message("delete", user_id="u-1"))
    devices.learn("acme", seen("u-1", id_="2"))
    database.write_item(
        lambda _, items: items, "all", lambda _: known_then.append(found(devices, "u-1"))
    )
    await written(database)
    assert known_then == [["2"]]


async def test_a_foreign_row_hides_no_other(devices: KnownDevices, database: Database) -> None:
    devices.learn("acme", seen("u-1"))
    await database.write(
        lambda cursor: cursor.execute(
            "INSERT INTO devices VALUES ('acme', 'u:u-1', 'x', 'not JSON', 9e9),"
            " ('acme', 'u:u-1', 'y', '{\"platform\": \"toaster\"}', 9e9)"
        )
    )
    assert found(devices, "u-1") == ["1"]


async def test_neither_looking_up_nor_learning_scans_the_table(
    devices: KnownDevices, database: Database
) -> None:
    statements: dict[str, Any] = {}

    def trace(_cursor: object, statement: str, values: Any) -> bool:
        statements[statement] = values
        return True

    database._committer.connection.exec_trace = database._reader.exec_trace = trace
    devices.learn("acme", seen("u-1"))
    await written(database)
    assert found(devices, "u-1") == ["1"]
    database._committer.connection.exec_trace = database._reader.exec_trace = None
    plans = [
        row[3]
        for statement, values in statements.items()
        if statement.split()[0] in ("SELECT", "REPLACE", "DELETE")
        for row in database.read(f"EXPLAIN QUERY PLAN {statement}", values or ())
    ]
    assert len(statements) >= 3
    # What the statement itself brings, and whether there is any deletion.
    short = ("SCAN given", "SCAN deletions USING COVERING INDEX", "VALUES")
    assert not [
        plan
        for plan in plans
        if plan.startswith("SCAN") and not any(each in plan for each in short)
    ]


async def test_without_a_file_to_write_it_still_knows_what_it_saw(
    database: Database, clock: FakeClock
) -> None:
    explaining = KnownDevices(database.read, None, clock)
    explaining.learn("acme", seen("u-1"))
    assert found(explaining, "u-1") == ["1"]
    await written(database)
    assert database.read("SELECT * FROM devices") == []
