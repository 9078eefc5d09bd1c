"""Segment's clients for servers, pointed at the proxy by their host setting and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import pytest

from tests.clients.conftest import CALLS, KEY, Stage
from tests.clients.installed import PYTHON_1_4, Report, needs_node, node, python

Run = Callable[..., Awaitable[Report]]


def _python(module: str, interpreter: str, **options: bool) -> Run:
    async def run(**job: object) -> Report:
        return await python(interpreter, module=module, options=options, **job)

    return run


def _node(script: str) -> Run:
    async def run(**job: object) -> Report:
        return await node(script, **job)

    return run


NEW, OLD = "segment.analytics.client", "analytics.client"
CLIENTS = [
    pytest.param(_python(NEW, sys.executable), id="segment-analytics-python"),
    pytest.param(_python(OLD, str(PYTHON_1_4)), id="analytics-python 1.4"),
    pytest.param(_node("server.js"), id="@segment/analytics-node", marks=needs_node),
    pytest.param(_node("server6.js"), id="analytics-node 6", marks=needs_node),
]
OPTIONS = [
    pytest.param(_python(NEW, sys.executable, gzip=True), id="segment-analytics-python gzipped"),
    pytest.param(
        _python(NEW, sys.executable, sync_mode=True), id="segment-analytics-python one by one"
    ),
    pytest.param(_python(OLD, str(PYTHON_1_4), gzip=True), id="analytics-python 1.4 gzipped"),
]


@pytest.mark.parametrize("run", CLIENTS + OPTIONS)
async def test_a_client_sees_no_error_and_nothing_it_sent_is_missing(
    run: Run, stage: Stage
) -> None:
    report = await run(url=stage.proxy.url, key=KEY, calls=CALLS)
    assert report.errors == []
    await stage.has_all(CALLS)


@pytest.mark.parametrize("run", CLIENTS)
async def test_a_client_with_an_unknown_key_is_told(run: Run, stage: Stage) -> None:
    """So that a report without errors says something."""
    report = await run(url=stage.proxy.url, key="wk_unknown", calls=CALLS[:1])
    assert report.errors
    assert (await stage.ledger())["received"] == 0
