"""Calls the plugins that look on, each guarded: none can stop another, or the delivery."""

from __future__ import annotations

import pluggy
import structlog

from proxy.kochava import Request
from proxy.mapping.asking import implementations
from proxy.mapping.plugins import Plugins
from proxy.segment import Message, Postback
from proxy.states import Outcome, Settlement

_log = structlog.get_logger(room="plugins")


class PluginObservers:
    """`delivery_attempted` and `event_settled` of every plugin that has them."""

    def __init__(self, plugins: Plugins) -> None:
        self._attempted = implementations(plugins.hook.delivery_attempted)
        self._settled = implementations(plugins.hook.event_settled)

    def attempted(
        self, message: Message | Postback, request: Request, outcome: Outcome, attempt: int
    ) -> None:
        for each, take in self._attempted:
            _call(each, take((message, request, outcome, attempt)))

    def settled(self, message: Message | Postback, settlement: Settlement) -> None:
        for each, take in self._settled:
            _call(each, take((message, settlement)))


def _call(implementation: pluggy.HookImpl, arguments: tuple[object, ...]) -> None:
    try:
        implementation.function(*arguments)
    except Exception as error:  # noqa: BLE001  an observer's fault is its own
        _log.error("observer_failed", plugin=implementation.plugin_name, error=type(error).__name__)
