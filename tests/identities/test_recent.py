"""What need not be written again would change nothing, whatever was written before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import Identities
from proxy.device import Device
from proxy.identities import rows
from proxy.identities.facts import Fact, Person
from proxy.identities.recent import DAY, Recent
from proxy.identities.schema import SCHEMA
from tests.support import NOW

KNOWN = Fact("acme", Device("android", "1", {"adid": "x"}), "u-1", "a-1")
SILENT = Fact("acme", Device("android", "1", {}), "u-1", None, silent=True)


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    # An advertising id may be what another device calls itself, and case is no difference.
    own = draw(st.sampled_from(["1", "2", "x", "X", ""]))
    advertising = draw(st.sampled_from(["", "x", "X", "2"] if own else ["x", "2"]))
    device = Device("android", own, {"adid": advertising} if advertising else {})
    user = draw(st.sampled_from([None, "one", "two"]))
    # Which may be equal to a user's.
    anonymous = draw(st.sampled_from([None, "one"] if user else ["one", "two"]))
    silent = not advertising and draw(st.booleans())
    if user and not silent and draw(st.integers(0, 4)) == 0:
        return Fact("acme", device, user, None, handed=True, previous=anonymous)
    source = draw(st.sampled_from(["acme", "zoo"]))
    return Fact(source, device, user, anonymous, silent=silent)


forgotten = st.tuples(st.just("acme"), st.sampled_from(["u:one", "u:two", "a:one", "a:two"]))
steps = st.lists(st.tuples(facts() | forgotten, st.integers(0, 12)), max_size=25)


def tables(connection: apsw.Connection) -> Sequence[Any]:
    return [
        connection.execute(f"SELECT {names} ORDER BY 1, 2, 3").fetchall()
        for names in ("source, person, device, details FROM devices", "* FROM device_ids")
    ]


@settings(max_examples=300, deadline=None)
@given(steps=steps, slots=st.sampled_from([2, 4, 1 << 10]), most=st.sampled_from([3, 1_000]))
def test_what_is_covered_changes_nothing_by_being_written(
    steps: list[tuple[Fact | Person, int]], slots: int, most: int
) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(SCHEMA)
    cursor = connection.cursor()
    recent, bounds, now = Recent(slots), Identities(max_devices=most), NOW
    for what, hours in steps:
        now += hours * 3_600
        if not isinstance(what, Fact):
            recent.drop(rows.forget(cursor, what, now - 1))
            connection.execute("DELETE FROM deletions")
            continue
        covered, before = recent.covers(what, now), tables(connection)
        if what.handed:
            recent.drop((what.source, id_) for id_ in what.ids)
        else:
            recent.add(what, now)
        recent.drop(rows.store(cursor, [what], [], now, now, bounds))
        assert not covered or tables(connection) == before


def test_what_was_added_is_covered_for_a_day() -> None:
    recent = Recent()
    assert not recent.covers(KNOWN, NOW)
    recent.add(KNOWN, NOW)
    moments = (NOW - 1, NOW, NOW + DAY - 1, NOW + DAY)
    assert [recent.covers(KNOWN, now) for now in moments] == [False, True, True, False]
    assert recent.covers(SILENT, NOW)
    for user_id, anonymous_id in (("u-1", None), (None, "a-1")):
        assert recent.covers(Fact("acme", KNOWN.device, user_id, anonymous_id), NOW)
    for source, user_id, anonymous_id in (
        ("zoo", "u-1", "a-1"), ("acme", "u-2", None), ("acme", None, "u-1"), ("acme", "a-1", None)
    ):  # fmt: skip
        assert not recent.covers(Fact(source, KNOWN.device, user_id, anonymous_id), NOW)


def test_a_device_that_loses_an_id_is_covered_with_none_of_its_persons() -> None:
    recent = Recent()
    other = Fact("acme", Device("android", "2", {"adid": "X"}), "u-2", "a-2")
    recent.add(KNOWN, NOW)
    recent.add(other, NOW)
    assert [recent.covers(fact, NOW) for fact in (KNOWN, SILENT, other)] == [False, False, True]
    recent.add(Fact("acme", KNOWN.device, "u-1", None), NOW)
    assert not recent.covers(KNOWN, NOW)  # its anonymous id has not come back
    assert not recent.covers(other, NOW)


@pytest.mark.parametrize("id_", ["1", "x"])
def test_a_device_of_which_any_id_is_dropped_is_not_covered(id_: str) -> None:
    recent = Recent()
    recent.add(KNOWN, NOW)
    recent.drop([("zoo", id_), ("acme", "2")])
    assert recent.covers(KNOWN, NOW)
    recent.drop([("acme", id_)])
    assert not recent.covers(KNOWN, NOW)


def test_what_a_silent_device_says_is_not_said_of_its_other_ids() -> None:
    recent = Recent()
    recent.add(KNOWN, NOW)
    theirs, all_theirs = (
        Fact("acme", fact.device, "u-2", None, silent=fact.silent) for fact in (SILENT, KNOWN)
    )
    recent.add(theirs, NOW)
    assert recent.covers(theirs, NOW)
    assert not recent.covers(all_theirs, NOW)
    recent.add(all_theirs, NOW)
    assert recent.covers(theirs, NOW)
    assert recent.covers(all_theirs, NOW)


def test_a_silent_device_is_not_taken_for_one_that_it_collides_with() -> None:
    recent = Recent(slots=2)
    for number in range(200):
        device = Device("android", str(number), {})
        recent.add(Fact("zoo", device, "u-1", None), NOW)
        for other in ("acme", device), ("zoo", Device("android", f"{number}-", {})):
            assert not recent.covers(Fact(*other, "u-1", None, silent=True), NOW)


def test_a_device_that_may_not_be_tracked_is_not_covered_by_a_silent_one() -> None:
    recent = Recent()
    recent.add(SILENT, NOW)
    assert recent.covers(SILENT, NOW)
    assert not recent.covers(Fact("acme", SILENT.device, "u-1", None), NOW)


def test_the_same_ids_as_other_kinds_are_another_device() -> None:
    recent = Recent()
    kinds: list[Device] = [
        Device(platform, "1", ids)
        for platform in ("ios", None)
        for ids in ({"idfv": "1"}, {"idfa": "1"}, {})
    ]
    for one, other in permutations(kinds, 2):
        recent.add(Fact("acme", one, "u-1", None), NOW)
        assert not recent.covers(Fact("acme", other, "u-1", None), NOW)
