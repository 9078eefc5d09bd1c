from __future__ import annotations

from functools import partial

import pytest

from proxy.database import Database
from proxy.errors import StorageError
from proxy.spool import purpose
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.spool.helpers import events, lease_now, pending


async def claim(database: Database, *, sandbox: bool) -> None:
    await database.write(partial(purpose.claim, sandbox=sandbox))


@pytest.mark.parametrize(
    ("sandbox", "says"),
    [
        (True, "2 trial events are pending in this file and must not be sent to Kochava"),
        (False, "2 real events are pending in this file and must not be sent into the sandbox"),
    ],
    ids=["trial events", "real events"],
)
async def test_events_of_one_kind_keep_a_file_from_the_other(
    spool: SqliteSpool, database: Database, sandbox: bool, says: str
) -> None:
    await claim(database, sandbox=sandbox)
    await spool.append("acme", events("m-1", "m-2"), {})
    with pytest.raises(StorageError, match=says):
        await claim(database, sandbox=not sandbox)
    await claim(database, sandbox=sandbox)  # and what was refused has changed nothing
    assert pending(database) == ["m-1", "m-2"]


@pytest.mark.parametrize("sandbox", [True, False])
async def test_a_file_that_owes_nothing_may_change_sides(
    spool: SqliteSpool, database: Database, sandbox: bool
) -> None:
    await claim(database, sandbox=sandbox)
    await spool.append("acme", events("m-1"), {})
    (leased,) = lease_now(spool, 1)
    await spool.settle(leased, Settlement("delivered"))
    await claim(database, sandbox=not sandbox)
    await spool.append("acme", events("m-2"), {})
    with pytest.raises(StorageError, match="pending"):
        await claim(database, sandbox=sandbox)
