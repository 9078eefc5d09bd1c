"""The metrics as a scraper reads them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy.appstate import AppState, BreakerState, WorkerState
from proxy.observe.metrics import exposition
from proxy.observe.snapshot import Snapshot
from tests.support import NOW

NOTHING = Snapshot({}, {}, {}, balanced=True, bytes=0, workers=[])

Labels = dict[str, str]


def samples(snapshot: Snapshot, name: str) -> list[tuple[Labels, float]]:
    """Labels and value of each sample of a metric, in their order."""
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(exposition(snapshot).decode())
        for sample in family.samples
        if sample.name == f"kochava_proxy_{name}"
    ]


def of_workers(*workers: list[AppState]) -> Snapshot:
    states = [WorkerState(index, 1, NOW, NOW, apps) for index, apps in enumerate(workers)]
    return msgspec.structs.replace(NOTHING, workers=states)


def test_the_ledger_and_the_queue_are_told_by_source() -> None:
    snapshot = Snapshot(
        {("acme", "received", ""): 9, ("acme", "filtered", "consent"): 2, ("b", "dead", ""): 1},
        {"acme": 7, "b": 0}, {"acme": 12.5, "b": 0.0}, balanced=True, bytes=4_096, workers=[],
        letters={"acme": 0, "b": 1},
    )  # fmt: skip
    assert samples(snapshot, "messages_total") == [
        ({"source": "acme", "outcome": "filtered", "reason": "consent"}, 2),
        ({"source": "acme", "outcome": "received", "reason": ""}, 9),
        ({"source": "b", "outcome": "dead", "reason": ""}, 1),
    ]
    assert samples(snapshot, "pending") == [({"source": "acme"}, 7), ({"source": "b"}, 0)]
    assert samples(snapshot, "dead_letters") == [({"source": "acme"}, 0), ({"source": "b"}, 1)]
    assert samples(snapshot, "oldest_pending_seconds")[0] == ({"source": "acme"}, 12.5)
    assert samples(snapshot, "spool_bytes") == [({}, 4_096)]


@pytest.mark.parametrize(("balanced", "value"), [(True, 1), (False, 0)])
def test_the_balance_is_one_or_zero(balanced: bool, value: int) -> None:
    snapshot = msgspec.structs.replace(NOTHING, balanced=balanced)
    assert samples(snapshot, "ledger_balanced") == [({}, value)]


def test_each_worker_tells_of_its_own_apps() -> None:
    snapshot = of_workers(
        [AppState("ko-1", 20, 4, 3, "closed", 2.5, None, 100, 5, 1), AppState("ko-2", 10)],
        [AppState("ko-1", 15, 2)],
    )
    first, other, second = (
        {"app": app, "worker": worker}
        for app, worker in (("ko-1", "0"), ("ko-2", "0"), ("ko-1", "1"))
    )
    assert samples(snapshot, "workers") == [({}, 2)]
    assert samples(snapshot, "app_in_flight") == [(first, 4), (other, 0), (second, 2)]
    assert samples(snapshot, "app_concurrency_limit") == [(first, 20), (other, 10), (second, 15)]
    assert samples(snapshot, "app_ready") == [(first, 3), (other, 0), (second, 0)]
    assert samples(snapshot, "app_attempts_total")[:3] == [
        ({**first, "outcome": "delivered"}, 100),
        ({**first, "outcome": "retried"}, 5),
        ({**first, "outcome": "refused"}, 1),
    ]


def test_a_rate_is_told_only_while_there_is_a_limit() -> None:
    snapshot = of_workers([AppState("ko-1", rate=2.5), AppState("ko-2")])
    assert samples(snapshot, "app_rate_limit") == [({"app": "ko-1", "worker": "0"}, 2.5)]


@pytest.mark.parametrize("state", ["closed", "open", "half_open"])
def test_a_breaker_is_in_one_state_of_all(state: BreakerState) -> None:
    snapshot = of_workers([AppState("ko-1", breaker=state)])
    values = {labels["state"]: value for labels, value in samples(snapshot, "app_breaker")}
    assert values == {"closed": 0, "open": 0, "half_open": 0, state: 1}


def test_an_app_that_any_worker_has_paused_is_paused_once() -> None:
    paused = AppState("ko-1", paused="status_401")
    snapshot = of_workers([AppState("ko-1"), AppState("ko-2")], [paused], [paused])
    assert samples(snapshot, "app_paused") == [({"app": "ko-1", "reason": "status_401"}, 1)]


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_whatever_a_name_or_reason_holds_a_scraper_reads_it_back(name: str, reason: str) -> None:
    """Sources and a plugin's reasons are anybody's words."""
    snapshot = msgspec.structs.replace(NOTHING, messages={(name, "filtered", reason): 3})
    text = exposition(snapshot).decode()
    line = next(
        line for line in text.split("\n") if line.startswith("kochava_proxy_messages_total")
    )
    labels = {"outcome": "filtered", "reason": reason, "source": name}
    escaped = (
        f'{key}="' + value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') + '"'
        for key, value in sorted(labels.items())
    )
    assert line == f"kochava_proxy_messages_total{{{','.join(escaped)}}} 3.0"
