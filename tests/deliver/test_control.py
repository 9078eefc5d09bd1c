"""An app is sent as much as it takes, and nothing but probes while it is down."""

from __future__ import annotations

import pytest

from proxy.deliver.control import Control
from proxy.spool.base import Pause
from proxy.states import Outcome
from tests.support import NOW, FixedChance, make_config

GOOD = Outcome("delivered", "", 200)
DOWN = Outcome("retry", "status_503", 503)
TOO_MANY = Outcome("retry", "status_429", 429)
SLOW = Outcome("retry", "timeout")


def made(**settings: float) -> Control:
    return Control(make_config(delivery=settings).delivery, FixedChance(0.0))


def send(control: Control, outcome: Outcome | None, now: float, seconds: float = 0.05) -> None:
    control.begun(now)
    control.ended(now + seconds, seconds, outcome)


def test_an_app_that_is_down_is_probed_and_may_have_all_again_once_it_answers() -> None:
    control = made(retry_base_seconds=1.0)
    for number in range(10):
        assert control.allows(NOW + number)
        send(control, DOWN, NOW + number)
    now = NOW + 10
    assert not control.allows(now)
    assert control.state("ko", 0, 0).breaker == "open"
    opens_at = control.next_at(now)
    assert opens_at is not None
    assert opens_at - now < 30
    assert control.allows(opens_at)
    control.begun(opens_at)
    assert (control.most, control.allows(opens_at)) == (1, False)
    control.ended(opens_at + 0.05, 0.05, GOOD)
    assert control.allows(opens_at + 1)
    assert control.most >= 20
    assert control.state("ko", 0, 0).breaker == "closed"


@pytest.mark.parametrize("outcome", [TOO_MANY, SLOW])
def test_fewer_are_in_flight_to_an_app_that_says_it_is_too_much(outcome: Outcome) -> None:
    control = made()
    before = control.most
    send(control, outcome, NOW)
    assert control.most < before


def test_too_many_lowers_the_rate_and_is_no_outage() -> None:
    control = made()
    for number in range(40):
        send(control, TOO_MANY, NOW + number)
    state = control.state("ko", 0, 0)
    assert (state.breaker, state.retried) == ("closed", 40)
    assert state.rate is not None
    assert not control.allows(NOW + 39.06)
    assert control.next_at(NOW + 39.06) is not None


def test_a_paused_app_gets_one_request_for_each_probe_that_was_allowed() -> None:
    control = made(retry_max_seconds=60)
    control.heed(Pause("status_401", NOW + 60))
    assert control.state("ko", 0, 0).paused == "status_401"
    assert control.next_at(NOW) == NOW + 60
    assert not control.allows(NOW + 60)
    for _ in range(2):
        control.allow_probe()
        assert (control.most, control.allows(NOW)) == (1, True)
        control.begun(NOW)
        assert not control.allows(NOW)
    control.heed(None)
    assert control.allows(NOW)
    assert control.most > 1
    assert control.state("ko", 0, 0).paused is None


def test_a_probe_that_was_allowed_but_not_sent_is_void_once_the_pause_is_over() -> None:
    control = made()
    control.heed(Pause("status_401", NOW))
    control.allow_probe()
    control.heed(None)
    control.heed(Pause("status_401", NOW + 300))
    assert not control.allows(NOW)


def test_a_probe_is_due_from_its_time_on_unless_one_may_be_sent_already() -> None:
    control = made(retry_max_seconds=60)
    assert not control.probe_is_due(NOW)
    control.heed(Pause("status_401", NOW + 60))
    assert [control.probe_is_due(NOW + after) for after in (0, 59, 60, 1_000)] == [
        False, False, True, True,
    ]  # fmt: skip
    control.allow_probe()
    assert not control.probe_is_due(NOW + 60)


@pytest.mark.parametrize(("set_back", "due"), [(0, False), (1, True), (100_000, True)])
def test_a_clock_that_was_set_back_makes_no_wait_for_a_probe_longer(
    set_back: float, due: bool
) -> None:
    control = made(retry_max_seconds=60)
    control.heed(Pause("status_401", NOW + 60))
    assert control.probe_is_due(NOW - set_back) is due


def test_no_probe_is_due_while_the_app_is_down_as_well() -> None:
    control = made(retry_base_seconds=10.0)
    for number in range(10):
        send(control, DOWN, NOW + number)
    control.heed(Pause("status_401", NOW))
    opens_at = control.next_at(NOW + 10)
    assert opens_at is not None
    assert not control.probe_is_due(NOW + 10)
    assert control.probe_is_due(opens_at)


def test_a_request_that_was_given_up_leaves_room_for_others() -> None:
    control = made()
    send(control, None, NOW)
    assert control.allows(NOW + 1)
    assert control.state("ko", 0, 0).retried == 0
