"""The metrics, computed from the file whenever they are asked for: so they hold over all workers,
and what is counted in the ledger goes on where it was after a restart.

docs/operating.md, "Metrics", explains each. None has a device, a user or a key among its labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.appstate import BreakerState, WorkerState, together
from proxy.observe.snapshot import Snapshot

PREFIX: Final = "kochava_proxy_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(snapshot: Snapshot) -> bytes:
    """All metrics in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Metrics(snapshot))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from _of_messages(self._snapshot)
        yield from _of_workers(self._snapshot.workers)


def _of_messages(snapshot: Snapshot) -> Iterator[Metric]:
    messages = CounterMetricFamily(
        PREFIX + "messages",
        "Messages received, and what became of them",
        labels=["source", "outcome", "reason"],
    )
    for line, number in sorted(snapshot.messages.items()):
        messages.add_metric(line, number)
    yield messages
    pending = _gauge("pending", "Messages that are yet to be delivered", "source")
    for source, number in sorted(snapshot.pending.items()):
        pending.add_metric([source], number)
    yield pending
    oldest = _gauge("oldest_pending_seconds", "Age of the first pending message", "source")
    for source, seconds in sorted(snapshot.oldest.items()):
        oldest.add_metric([source], seconds)
    yield oldest
    letters = _gauge("dead_letters", "Dead letters that are kept", "source")
    for source, number in sorted(snapshot.letters.items()):
        letters.add_metric([source], number)
    yield letters
    balanced = _gauge("ledger_balanced", "Whether every message received is accounted for")
    balanced.add_metric([], snapshot.balanced)
    yield balanced
    size = _gauge("spool_bytes", "Content of the file, without room that was freed in it")
    size.add_metric([], snapshot.bytes)
    yield size


def _of_workers(states: list[WorkerState]) -> Iterator[Metric]:
    workers = _gauge("workers", "Processes that deliver")
    workers.add_metric([], len(states))
    yield workers
    in_flight = _app_gauge("in_flight", "Requests in flight")
    limit = _app_gauge("concurrency_limit", "Requests that may be in flight")
    ready = _app_gauge("ready", "Events at hand to be sent next")
    rate = _app_gauge("rate_limit", "Requests a second that are allowed, while they are limited")
    breaker = _app_gauge("breaker", "1 for the state that the breaker is in", "state")
    attempts = CounterMetricFamily(
        PREFIX + "app_attempts",
        "Requests that were answered or failed, since the worker was started",
        labels=["app", "worker", "outcome"],
    )
    for state in states:
        for app in state.apps:
            labels = [app.app, str(state.worker)]
            in_flight.add_metric(labels, app.in_flight)
            limit.add_metric(labels, app.limit)
            ready.add_metric(labels, app.ready)
            if app.rate is not None:
                rate.add_metric(labels, app.rate)
            for each in get_args(BreakerState):
                breaker.add_metric([*labels, each], each == app.breaker)
            for outcome in ("delivered", "retried", "refused"):
                attempts.add_metric([*labels, outcome], getattr(app, outcome))
    yield from (in_flight, limit, ready, rate, breaker, attempts)
    paused = _gauge("app_paused", "1 while nothing but a probe is sent to an app", "app", "reason")
    for name, app in together(states).items():
        if app.paused is not None:
            paused.add_metric([name, app.paused], 1)
    yield paused


def _app_gauge(name: str, what: str, *more: str) -> GaugeMetricFamily:
    return _gauge(f"app_{name}", what, "app", "worker", *more)


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, what, labels=labels)
