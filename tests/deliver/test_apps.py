"""What is sent next: each app its part, live before bulk, a paused one nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.deliver.apps import Apps
from proxy.spool.base import Pause
from tests.support import NOW, FixedChance, make_config

PAUSE = Pause("status_401", NOW + 300)


def apps(*names: str, **settings: float) -> Apps[str]:
    return Apps(
        names,
        make_config(delivery={"max_concurrency": 20, **settings}).delivery,
        FixedChance(),
    )


def fill(made: Apps[str], name: str, live: int, bulk: int = 0) -> None:
    app = made.get(name)
    app.ready[False].extend("live" for _ in range(live))
    app.ready[True].extend("bulk" for _ in range(bulk))


def picked(made: Apps[str], now: float = NOW) -> Counter[tuple[str, str]]:
    return Counter((app.name, kind) for app, kind in made.picks(now))


def test_one_app_alone_may_use_all_there_is() -> None:
    made = apps("a")
    fill(made, "a", 50)
    assert picked(made) == {("a", "live"): 20}


def test_a_slow_app_leaves_each_other_its_own_part() -> None:
    made = apps("slow", "b", "c")
    fill(made, "slow", 100)
    picked(made)  # and none of them ends
    for name in ("b", "c"):
        fill(made, name, 100)
        assert picked(made)[name, "live"] >= 3  # 20 // (2 * 3)


def test_a_paused_app_holds_back_all_but_a_probe_that_was_allowed() -> None:
    made = apps("a", "b")
    fill(made, "a", 5)
    fill(made, "b", 5)
    made.get("a").control.heed(PAUSE)
    assert picked(made) == {("b", "live"): 5}
    assert picked(made, NOW + 300) == {}
    made.get("a").control.allow_probe()
    assert picked(made, NOW + 300) == {("a", "live"): 1}
    assert picked(made, NOW + 300) == {}
    made.get("a").control.heed(None)
    assert picked(made, NOW + 300) == {("a", "live"): 4}


def test_bulk_never_takes_the_share_of_what_is_live() -> None:
    made = apps("a", live_share=0.5)
    fill(made, "a", 0, bulk=50)
    assert picked(made) == {("a", "bulk"): 10}
    fill(made, "a", 50)
    assert picked(made) == {("a", "live"): 10}


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_bulk_gets_its_share_while_both_are_ready(share: float) -> None:
    made = apps("a", bulk_share=share)
    fill(made, "a", 2_000, bulk=2_000)
    app, kinds = made.get("a"), Counter[str]()
    for _ in range(100):
        for (_, kind), number in picked(made).items():
            kinds[kind] += number
        app.in_flight = {False: 0, True: 0}  # all of them have ended
    assert kinds["bulk"] / kinds.total() == pytest.approx(share, abs=0.02)


steps = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["ready", "bulk", "end", "pause", "resume"]),
        st.integers(1, 30),
    ),
    max_size=60,
)


@given(steps)
def test_there_are_never_more_in_flight_than_allowed_and_no_app_starves(
    steps: list[tuple[str, str, int]],
) -> None:
    made = apps("a", "b", "c")
    for name, what, number in steps:
        app = made.get(name)
        if what in ("ready", "bulk"):
            app.ready[what == "bulk"].extend("x" for _ in range(number))
        elif what == "pause":
            app.control.heed(PAUSE)
        elif what == "resume":
            app.control.heed(None)
        else:
            for kind, flying in app.in_flight.items():
                app.in_flight[kind] = max(0, flying - number)
        list(made.picks(NOW))
        assert sum(each.sending for each in made) <= 20
        for each in made:
            if each.control.paused is None and each.ready[False]:
                assert each.sending >= 3
