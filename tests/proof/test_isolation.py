"""An app whose Kochava misbehaves does not slow another."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.proof.faults import DOWN, FORBIDDEN, SILENT, Answer, busy, by_app
from tests.proof.latency import Latency, latency
from tests.proof.oracle import Acknowledged, Request
from tests.proof.trial import WORKERS, trial

GOOD_APP = "kobeta"
MESSAGES = 200
SLACK = 0.25  # seconds; what a busy machine may add


@pytest.mark.parametrize("workers", WORKERS[:1])
@pytest.mark.parametrize(
    "bad", [(SILENT, FORBIDDEN), (DOWN, busy("1"))], ids=lambda both: both[0].name
)
async def test_the_good_app_stays_as_fast_as_it_was(
    tmp_path: Path, workers: int, bad: tuple[Answer, Answer]
) -> None:
    async with trial(tmp_path, 30, workers) as proof:
        async with proof.sending(MESSAGES, pause=0.01):
            pass
        quiet_until = time.monotonic()
        proof.sink.plan = by_app(dict(zip(("koacme-ios", "koacme-android"), bad, strict=True)))
        async with proof.sending(MESSAGES, pause=0.01):
            pass
        loud_until = time.monotonic()
        await proof.holds()
    given = proof.load.acknowledged, proof.sink.requests, GOOD_APP
    quiet = latency(*given, until=quiet_until)
    loud = latency(*given, since=quiet_until, until=loud_until)
    assert loud.p99 <= 2 * quiet.p99 + SLACK, (quiet, loud)


def test_latency_counts_from_the_acknowledgement_to_the_first_success_of_one_app() -> None:
    acknowledged = [
        Acknowledged(f"m-{n}", "delivered", ("acme", "one"), {"kochava_app_id": app}, at=float(n))
        for n, app in enumerate(("good", "good", "good", "bad"))
    ]
    requests = [
        Request("m-0", "good", {}, 0.0, 0.5, final=True, success=True),
        Request("m-1", "good", {}, 1.0, 1.5),
        Request("m-1", "good", {}, 2.0, 3.0, final=True, success=True),
        Request("m-1", "good", {}, 5.0, 6.0, final=True, success=True),
        Request("m-3", "bad", {}, 3.0, 99.0, final=True, success=True),
    ]
    assert latency(acknowledged, requests, "good") == Latency(2, 2.0, 2.0, 2.0)
    assert latency(acknowledged, requests, "good", until=0.5).p99 == 0.5
