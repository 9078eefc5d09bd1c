"""Calls the plugins that look on, each guarded: none can stop another, or the delivery."""

from __future__ import annotations

from typing import Any

import structlog

from proxy.kochava import Request
from proxy.mapping.plugins import Plugins
from proxy.segment import Message, Postback
from proxy.states import Outcome, Settlement

_log = structlog.get_logger(room="plugins")


class PluginObservers:
    """`delivery_attempted` and `event_settled` of every plugin that has them."""

    def __init__(self, plugins: Plugins) -> None:
        self._attempted = plugins.hook.delivery_attempted.get_hookimpls()
        self._settled = plugins.hook.event_settled.get_hookimpls()

    def attempted(
        self, message: Message | Postback, request: Request, outcome: Outcome, attempt: int
    ) -> None:
        for each in self._attempted:
            _call(each, message=message, request=request, outcome=outcome, attempt=attempt)

    def settled(self, message: Message | Postback, settlement: Settlement) -> None:
        for each in self._settled:
            _call(each, message=message, settlement=settlement)


def _call(implementation: Any, **arguments: object) -> None:
    try:
        implementation.function(*(arguments[name] for name in implementation.argnames))
    except Exception as error:  # noqa: BLE001  an observer's fault is its own
        _log.error("observer_failed", plugin=implementation.plugin_name, error=type(error).__name__)
