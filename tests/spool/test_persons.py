"""What names only a user is ordered by the first that came with that user: a device, or by the user
if such a message came before any device.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.database import Database
from proxy.event import Event
from proxy.placing import device_hash
from proxy.receive.intake import read_batch, take_batch
from proxy.receive.slices import at_once
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.spool.conftest import DAY
from tests.spool.helpers import events, ids, lease_now
from tests.support import NOW, FakeClock


def of_device(id_: str, device: str, user: str = "u") -> Event:
    (event,) = events(id_, device=device)
    return msgspec.structs.replace(event, person=device_hash("acme", user))


def of_user(id_: str, user: str = "u") -> Event:
    (event,) = events(id_, device=user)
    return msgspec.structs.replace(event, person=event.device, of_person=True)


async def test_an_audience_comes_after_what_the_users_device_sent_before(
    spool: SqliteSpool,
) -> None:
    batch = [of_device("install", "phone"), of_user("audience"), of_user("other", user="v")]
    await spool.append("acme", batch, {})
    leased = lease_now(spool)
    assert ids(leased) == ["install", "other"]
    await spool.settle(leased[0], Settlement("delivered"))
    assert ids(lease_now(spool)) == ["audience"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_second_device_changes_nothing_about_the_order_of_audiences(
    spool: SqliteSpool, database: Database, clock: FakeClock, restarted: bool
) -> None:
    await spool.append("acme", [of_device("a", "phone"), of_user("true")], {})
    if restarted:
        spool = SqliteSpool(database, clock, DAY)
    await spool.append("acme", [of_device("b", "tablet"), of_user("false")], {})
    order: list[str] = []
    while leased := lease_now(spool):
        order += ids(leased)
        for each in leased:
            await spool.settle(each, Settlement("delivered"))
    assert order.index("a") < order.index("true") < order.index("false")


@pytest.mark.parametrize("anonymous_id", [None, "a"])
@pytest.mark.parametrize("forms", ["track", "identify", "both"])
async def test_what_engage_computed_arrives_in_its_order_in_either_form(
    spool: SqliteSpool, forms: str, anonymous_id: str | None
) -> None:
    """True, false, true: as they come in, one after the other, behind the user's device."""
    who = {"userId": "u", "anonymousId": anonymous_id}
    batch: list[dict[str, Any]] = [
        {"type": "track", "event": "Opened", "userId": "u", "context": {"device": {"id": "phone"}}}
    ]
    for number, value in enumerate([True, False, True]):
        message: dict[str, Any] = {**who, "context": {"personas": {"computation_key": "k"}}}
        if forms == "track" or (forms == "both" and number != 1):
            name = "Audience Entered" if value else "Audience Exited"
            message |= {"type": "track", "event": name, "properties": {"k": value}}
        else:
            message |= {"type": "identify", "traits": {"k": value}}
        batch.append(message)
    for number, message in enumerate(batch):
        message["messageId"] = str(number)
        body = at_once(read_batch(msgspec.json.encode({"batch": [message]})))
        taken = at_once(take_batch(body, "acme", NOW, None, lambda: ""))
        await spool.append("acme", taken.events, taken.rejected)
    order: list[list[str]] = []
    while leased := lease_now(spool):
        order.append(ids(leased))
        assert [each.lane.bulk for each in leased] == [order[-1] != ["0"]]
        await spool.settle(leased[0], Settlement("delivered"))
    assert order == [["0"], ["1"], ["2"], ["3"]]


async def test_without_any_device_a_users_messages_keep_their_order(spool: SqliteSpool) -> None:
    await spool.append("acme", [of_user("true"), of_user("false")], {})
    assert ids(lease_now(spool)) == ["true"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_device_that_becomes_known_lets_no_audience_overtake_an_earlier_one(
    spool: SqliteSpool, database: Database, clock: FakeClock, restarted: bool
) -> None:
    await spool.append("acme", [of_user("true-1")], {})
    (waiting,) = lease_now(spool)
    await spool.append("acme", [of_device("a", "phone")], {})
    if restarted:
        spool = SqliteSpool(database, clock, DAY)
        waiting, device = lease_now(spool)
        assert ids([device]) == ["a"]
    await spool.append("acme", [of_user("false"), of_user("true-2")], {})
    assert set(ids(lease_now(spool))) <= {"a"}
    for following in ("false", "true-2"):
        await spool.settle(waiting, Settlement("delivered"))
        (waiting,) = lease_now(spool)
        assert ids([waiting]) == [following]
