"""What many messages teach at once is what they would teach one after the other."""

from __future__ import annotations

from typing import Any

import apsw
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Identities
from proxy.device import Device
from proxy.identities import lessons, rows
from proxy.identities.facts import Fact
from proxy.identities.lessons import Lesson
from proxy.identities.recent import DAY
from proxy.identities.schema import SCHEMA
from tests.support import NOW

BOUNDS = Identities()


@st.composite
def lesson(draw: st.DrawFn) -> Lesson:
    own, advertising = draw(st.sampled_from("123")), draw(st.sampled_from(["", "x", "y"]))
    device = Device("android", own, {"adid": advertising} if advertising else {"android_id": own})
    user = draw(st.sampled_from([None, "u-1", "u-2"]))
    anonymous = draw(st.sampled_from([None, "a-1"] if user else ["a-1", "a-2"]))
    silent = draw(st.integers(0, 9)) == 0
    handed = not silent and user is not None and draw(st.integers(0, 9)) == 0
    fact = Fact("acme", device, user, None if handed else anonymous, handed, silent=silent)
    return Lesson([fact], fact.persons(), NOW, NOW + draw(st.sampled_from([0, DAY])), BOUNDS)


def tables(connection: apsw.Connection) -> dict[str, list[Any]]:
    columns = {"devices": "source, person, device, details, seen_at", "device_ids": "*",
               "device_count": "*"}  # fmt: skip
    return {
        table: connection.execute(f"SELECT {names} FROM {table} ORDER BY 1, 2").fetchall()
        for table, names in columns.items()
    }


def opened() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute(SCHEMA)
    return connection


@given(st.lists(st.lists(lesson(), min_size=1, max_size=8), max_size=4))
def test_together_or_one_by_one_is_the_same(batches: list[list[Lesson]]) -> None:
    together, alone = opened(), opened()
    for batch in batches:
        lost = lessons.store(together.cursor(), batch)
        assert len(lost) == len(batch)
        for each in batch:
            rows.store(alone.cursor(), *each)
        assert tables(together) == tables(alone)


def test_the_clock_may_go_back_within_a_batch() -> None:
    connection = opened()
    device = Device("android", "1", {})
    fact = Fact("acme", device, "u-1", None)
    days = [NOW, NOW + DAY, NOW]
    lessons.store(
        connection.cursor(), [Lesson([fact], fact.persons(), NOW, now, BOUNDS) for now in days]
    )
    assert connection.execute("SELECT seen_at FROM devices").fetchall() == [(NOW,)]


def test_whoever_was_deleted_since_is_not_learnt() -> None:
    connection = opened()
    rows.forget(connection.cursor(), ("acme", "u:u-1"), NOW + 1)
    device = Device("android", "1", {"adid": "x"})
    facts = [Fact("acme", device, user, None) for user in ("u-1", "u-2")]
    batch = [Lesson([fact], fact.persons(), NOW, NOW + 2, BOUNDS) for fact in facts]
    assert lessons.store(connection.cursor(), batch) == [[("acme", "1"), ("acme", "x")], []]
    people = connection.execute("SELECT person FROM devices").fetchall()
    assert people == [("u:u-2",)]
