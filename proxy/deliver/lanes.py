"""Order per device, among what is in flight.

An event begins only when those before it that speak of the same device have ended. What waits for
a retry does not hold back what comes after it yet; that, fairness between apps and bulk lanes
belong here too and are not part of this version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from proxy.kochava import IdentityLink, KochavaRequest
from proxy.states import Planned


class Lanes:
    """The last event in flight of every device."""

    def __init__(self) -> None:
        self._last: dict[str, asyncio.Task[None]] = {}

    def ahead(self, keys: Iterable[str]) -> set[asyncio.Task[None]]:
        """The tasks that must end before an event of these devices may begin."""
        return {self._last[key] for key in keys if key in self._last}

    def enter(self, keys: Iterable[str], task: asyncio.Task[None]) -> None:
        """Lets later events of these devices wait for `task`."""
        keys = tuple(keys)
        for key in keys:
            self._last[key] = task
        task.add_done_callback(lambda ended: self._leave(keys, ended))

    def _leave(self, keys: Iterable[str], task: asyncio.Task[None]) -> None:
        for key in keys:
            if self._last.get(key) is task:
                del self._last[key]


def device_keys(source: str, requests: Iterable[Planned]) -> set[str]:
    """Everything by which requests name their devices: links know no kochava_device_id."""
    ids: list[object] = []  # of any kind: a plugin may have put anything there
    for planned in requests:
        request = planned.request
        if isinstance(request, KochavaRequest):
            named = request.data.get("device_ids")
            ids += (request.kochava_device_id, *(named.values() if isinstance(named, dict) else ()))
        elif isinstance(request, IdentityLink):
            links: object = request.device_id
            ids += links.values() if isinstance(links, dict) else ()
    return {f"{source}\0{id_}" for id_ in ids if id_}
