"""How long messages of one app take from acceptance to delivery."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tests.proof.oracle import Acknowledged, Request


class Latency(msgspec.Struct, frozen=True):
    """Seconds, over `count` messages."""

    count: int
    median: float
    p99: float
    longest: float


def latency(
    acknowledged: Iterable[Acknowledged],
    requests: Iterable[Request],
    app: str,
    since: float = 0.0,
    until: float = float("inf"),
) -> Latency:
    """Of the messages of `app` that were acknowledged in that time and delivered at all."""
    delivered: dict[str, float] = {}
    for request in requests:
        if request.success and request.ended is not None:
            delivered.setdefault(request.id, request.ended)
    took = sorted(
        max(0.0, delivered[each.id] - each.at)  # Kochava may hear of it before the client does
        for each in acknowledged
        if each.content["kochava_app_id"] == app
        and since <= each.at <= until
        and each.id in delivered
    )
    assert took, f"nothing of {app} was delivered"
    return Latency(
        len(took), took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)], took[-1]
    )
