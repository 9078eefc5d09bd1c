"""Stored bytes to a decision: decode, drop or learn, map, encode. No I/O but looking up devices.

Delivery and `explain` both go through here, so that what is explained is what happens.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

from proxy.decode import decode_event
from proxy.deliver.encode import Encoder
from proxy.deliver.prepared import Prepared
from proxy.errors import Refused
from proxy.event import Event
from proxy.identities.known import KnownDevices
from proxy.mapping.dispatch import Dispatcher, Requests
from proxy.mapping.plugins import Plugins
from proxy.segment import Delete, Message, Source
from proxy.states import Decision, Deliver, Fail, Filter, Hold, Planned

#: Called with the name of a stage and what came out of it.
Trace = Callable[[str, object], None]


def _no_trace(stage: str, result: object) -> None:
    """Delivery does not listen."""


class Pipeline:
    """Everything that is decided about an event before it is sent."""

    def __init__(
        self,
        plugins: Plugins,
        sources: Mapping[str, Source],
        known: KnownDevices,
        encoder: Encoder,
        trace: Trace = _no_trace,
    ) -> None:
        self._sources = sources
        self._known = known
        self._dispatcher = Dispatcher(plugins, known.devices_of)
        self._encoder = encoder
        self._trace = trace

    def prepare(self, event: Event) -> Prepared:
        """The message of a stored event and what to do with it; never raises."""
        try:
            message = decode_event(event)
        except Refused as refused:
            return Prepared(None, Fail("undecodable", refused.reason))
        except Exception:  # noqa: BLE001  a foreign row can break anything, but not stop the rest
            return Prepared(None, Fail("undecodable", traceback.format_exc(limit=-3)))
        self._trace("decode", message)
        source = self._sources.get(event.source)
        if source is None:
            return Prepared(message, Hold("source_not_in_config"))
        return Prepared(message, self._decide(message, source))

    def _decide(self, message: Message, source: Source) -> Decision:
        if isinstance(message, Delete):
            self._known.forget(source.name, message)
            return Filter("deletion")
        dropped = self._dispatcher.drop_reason(message, source)
        if dropped is not None:
            return dropped
        self._known.learn(source.name, message)
        mapped = self._dispatcher.map(message, source)
        if not isinstance(mapped, Requests):
            return mapped
        self._trace("join", mapped.requests)
        try:
            planned = tuple(
                Planned(request, self._encoder.encode(request, source.name))
                for request in mapped.requests
            )
        except Exception:  # noqa: BLE001  a plugin may have put anything there
            return Fail("not_encodable", traceback.format_exc(limit=-3))
        self._trace("encode", planned)
        return Deliver(planned)
