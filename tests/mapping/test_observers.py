"""Whoever only looks on can do no harm."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from proxy.kochava import KochavaRequest
from proxy.mapping.observers import PluginObservers
from proxy.states import Outcome, Settlement
from tests.mapping.plugin_files import load
from tests.support import make_message

REQUEST = KochavaRequest(action="event", kochava_app_id="ko", kochava_device_id="d", data={})

LOOKING = """
seen = []

@hookimpl
def delivery_attempted(attempt, outcome, request, message):
    seen.append((message.message_id, request.kochava_app_id, outcome.kind, attempt))

@hookimpl
def event_settled(message, settlement):
    seen.append((message.message_id, settlement.state))
"""
RAISING = """
@hookimpl
def delivery_attempted(message): raise ValueError(message.user_id)

@hookimpl
def event_settled(message): raise ValueError(message.user_id)
"""


def test_all_observers_are_called_whatever_another_does(tmp_path: Path) -> None:
    plugins = load(tmp_path, a=LOOKING, b=RAISING, c=LOOKING)
    observers = PluginObservers(plugins)
    message = make_message(user_id="u-secret")
    with capture_logs() as logs:
        observers.attempted(message, REQUEST, Outcome("retry", "http_503"), 2)
        observers.settled(message, Settlement("delivered"))
    for plugin in (plugins.loaded[-3], plugins.loaded[-1]):
        assert plugin.module.seen == [("m-1", "ko", "retry", 2), ("m-1", "delivered")]
    assert [(log["event"], log["plugin"], log["error"]) for log in logs] == [
        ("observer_failed", "b.py", "ValueError")
    ] * 2
    assert "u-secret" not in str(logs)
