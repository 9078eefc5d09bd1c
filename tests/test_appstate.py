"""Every app over all workers."""

from __future__ import annotations

import pytest

from proxy.appstate import AppState, BreakerState, WorkerState, together
from tests.support import NOW


def seen(*states: AppState) -> list[WorkerState]:
    """Each state as seen by a worker of its own."""
    return [WorkerState(index, 1, NOW, NOW, [state]) for index, state in enumerate(states)]


def test_numbers_are_summed_and_apps_stand_in_order() -> None:
    one = AppState("b", 10, 3, 2, "closed", 5.0, None, 100, 20, 3)
    other = AppState("b", 7, 1, 4, "closed", 2.5, None, 50, 1, 0)
    found = together([*seen(one, other), WorkerState(2, 1, NOW, NOW, [AppState("a")])])
    assert list(found) == ["a", "b"]
    assert found["b"] == AppState("b", 17, 4, 6, "closed", 7.5, None, 150, 21, 3)


def test_a_limit_of_one_worker_is_not_hidden_by_another_that_has_none() -> None:
    found = together(seen(AppState("a"), AppState("a", rate=2.0), AppState("a")))
    assert found["a"].rate == 2.0


def test_a_pause_of_one_worker_is_a_pause() -> None:
    found = together(seen(AppState("a"), AppState("a", paused="status_401"), AppState("a")))
    assert found["a"].paused == "status_401"


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["closed", "closed"], "closed"),
        (["half_open", "closed"], "half_open"),
        (["half_open", "open"], "open"),
        (["open", "closed", "half_open"], "open"),
    ],
    ids=["all well", "one is tried", "one is given up", "all kinds"],
)
def test_the_worst_breaker_stands_for_all(states: list[BreakerState], worst: str) -> None:
    assert together(seen(*(AppState("a", breaker=each) for each in states)))["a"].breaker == worst
