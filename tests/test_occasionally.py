from __future__ import annotations

from proxy.occasionally import MAX_KINDS, Occasionally


def test_the_first_of_a_kind_is_said_at_once_and_the_next_only_after_a_while() -> None:
    occasionally = Occasionally(every_seconds=10)
    said = [occasionally.count(now, "retry", "acme") for now in (0.0, 1.0, 9.9, 10.0, 10.1)]
    assert said == [1, 0, 0, 3, 0]


def test_every_event_is_counted_once() -> None:
    occasionally = Occasionally(every_seconds=10)
    said = sum(occasionally.count(now / 7, "retry") for now in range(1_000))
    assert said + occasionally.count(1_000.0, "retry") == 1_001


def test_kinds_do_not_hide_each_other() -> None:
    occasionally = Occasionally()
    assert [occasionally.count(0.0, "retry", name) for name in ("a", "b", "a")] == [1, 1, 0]


def test_kinds_without_end_do_not_fill_the_memory() -> None:
    occasionally = Occasionally()
    for number in range(3 * MAX_KINDS):
        occasionally.count(0.0, "retry", number)
    assert len(occasionally._kinds) <= MAX_KINDS
