"""Stored bytes to a decision: decode, drop or learn, map, encode. No I/O but looking up devices.

Delivery and `explain` both go through here, so that what is explained is what happens.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from proxy.clock import Clock
from proxy.config import Config
from proxy.decode import decode_event
from proxy.deliver.encode import Encoder
from proxy.deliver.prepared import Prepared
from proxy.errors import Refused
from proxy.event import Event
from proxy.identities.known import KnownDevices
from proxy.kochava import KochavaRequest, Request
from proxy.mapping.dispatch import NO_DEVICE, UNMAPPED, Dispatcher, Requests
from proxy.mapping.plugins import Plugins
from proxy.postback import decode_postback, ids_of, spellings
from proxy.segment import Delete, Identity, Message, Postback, Source
from proxy.states import Decision, Deliver, Fail, Filter, Hold, Planned
from proxy.translate import AD_SERVICES_TOKEN, without_stale_token

#: Called with the name of a stage and what came out of it.
Trace = Callable[[str, object], None]


def _no_trace(stage: str, result: object) -> None:
    """Delivery does not listen."""


class Pipeline:
    """Everything that is decided about an event before it is sent."""

    def __init__(
        self,
        plugins: Plugins,
        config: Config,
        known: KnownDevices,
        clock: Clock,
        trace: Trace = _no_trace,
    ) -> None:
        self._sources = {source.name: source.public() for source in config.sources}
        self._known = known
        self._dispatcher = Dispatcher(plugins, known.devices_of)
        self._encoder = Encoder(config)
        self._postbacks = config.postbacks
        self._names = spellings(config.postbacks.parameters)
        self._hold_seconds = config.identities.hold_seconds
        self._clock = clock
        self._trace = trace

    def prepare(self, event: Event) -> Prepared:
        """The message of a stored event and what to do with it; never raises."""
        message: Message | Postback
        try:
            if event.type == Postback.type:
                message = decode_postback(event, self._names)
            else:
                message = decode_event(event)
        except Refused as refused:
            return Prepared(None, Fail("undecodable", refused.reason))
        except Exception:  # noqa: BLE001  a foreign row can break anything, but not stop the rest
            return Prepared(None, Fail("undecodable", traceback.format_exc(limit=-3)))
        self._trace("decode", message)
        source = self._sources.get(event.source)
        if source is None:
            return Prepared(message, Hold("source_not_in_config"))
        if isinstance(message, Postback):
            return Prepared(message, self._decide_postback(message, source))
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
        if mapped is NO_DEVICE:
            return self._hold(message, "no_device_yet", self._hold_seconds) or NO_DEVICE
        if not isinstance(mapped, Requests):
            return mapped
        self._trace("join", mapped.requests)
        return self._encode(mapped.requests, source, message)

    def _decide_postback(self, postback: Postback, source: Source) -> Decision:
        if not self._encoder.reaches_segment(source.name):
            return Hold("segment_write_key_not_in_config")
        ids = ids_of(postback.fields)
        identity = self._known.owner_of(source.name, ids)
        self._trace("join", identity)
        mapped = self._dispatcher.map_postback(postback, source, identity)
        if isinstance(mapped, Fail) or mapped == UNMAPPED:
            return mapped
        # A plugin that leaves out what is nobody's is asked again once somebody may be known.
        if held := ids and self._hold(postback, *self._patience(identity)):
            return held
        return mapped if isinstance(mapped, Filter) else self._encode((mapped,), source, postback)

    def _patience(self, identity: Identity | None) -> tuple[str, float]:
        """What a postback still waits for, and for how many seconds from its arrival."""
        if identity is None:
            return "device_not_seen_yet", self._postbacks.hold_seconds
        if identity.user_id is None:
            return "user_not_known_yet", self._postbacks.user_hold_seconds
        return "", 0.0

    def _hold(self, message: Message | Postback, reason: str, seconds: float) -> Hold | None:
        """To wait until a message is so old. It is looked at each time that its age has doubled:
        what is soon known is soon sent, and what never is costs a dozen looks.
        """
        age = self._clock.now() - message.received_at.timestamp()
        if age >= seconds:
            return None
        self._trace("hold", {"reason": reason, "up_to_seconds": seconds})
        return Hold(reason, min(max(age, 1.0), seconds - age))

    def _encode(
        self, requests: tuple[Request, ...], source: Source, message: Message | Postback
    ) -> Deliver | Fail:
        try:
            planned = tuple([self._plan(each, source, message) for each in requests])
        except Exception:  # noqa: BLE001  a plugin may have put anything there
            return Fail("not_encodable", traceback.format_exc(limit=-3))
        self._trace("encode", planned)
        return Deliver(planned)

    def _plan(self, request: Request, source: Source, message: Message | Postback) -> Planned:
        """Retries and replays come late: sent without what has run out since the message."""
        sent = request
        if (  # of the others nobody needs to know how late they are
            isinstance(request, KochavaRequest)
            and AD_SERVICES_TOKEN in request.data
            and isinstance(message, Message)
        ):
            age = self._clock.now() - message.timestamp.timestamp()
            sent = without_stale_token(request, age)
        return Planned(request, self._encoder.encode(sent, source.name))
