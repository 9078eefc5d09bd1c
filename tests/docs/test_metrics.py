"""The metrics that the documents name are those there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.appstate import AppState, WorkerState
from proxy.observe.metrics import exposition
from proxy.observe.snapshot import Snapshot
from tests.docs.documents import ROOT, blocks, rows
from tests.support import NOW

OPERATING = ROOT / "docs" / "operating.md"


@pytest.fixture(scope="module")
def real() -> dict[str, set[str]]:
    """The labels of each metric, of a proxy of which there is everything to tell."""
    app = AppState("ko", rate=1.0, paused="status_401")
    snapshot = Snapshot(
        {("acme", "received", ""): 1}, {"acme": 1}, {"acme": 1.0}, balanced=True, bytes=1,
        workers=[WorkerState(0, 1, NOW, NOW, [app])], letters={"acme": 1},
    )  # fmt: skip
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(exposition(snapshot).decode())
        for sample in family.samples
    }


def test_every_metric_is_documented_with_its_labels_and_no_other(
    real: dict[str, set[str]],
) -> None:
    told = {}
    for heading, (metric, *_) in rows(OPERATING):
        if heading == "Metrics" and metric.startswith("`"):
            name, _, labels = metric.strip("`}").partition("{")
            told[name] = set(filter(None, labels.split(", ")))
    assert told == real


def test_alerts_ask_for_metrics_that_there_are(real: dict[str, set[str]]) -> None:
    asked = re.findall(r"kochava_proxy_\w+", "".join(block.text for block in blocks("yaml")))
    assert asked
    assert set(asked) <= set(real)


@pytest.mark.parametrize("file", sorted((ROOT / "docs").rglob("*.md")), ids=lambda file: file.name)
def test_no_document_names_a_metric_that_is_not_there(
    file: Path, real: dict[str, set[str]]
) -> None:
    named = re.findall(r"kochava_proxy_\w+", file.read_text())
    assert set(named) <= set(real)
