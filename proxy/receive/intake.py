"""From a request's body to events: split, check one by one, refuse what is not acceptable."""

from __future__ import annotations

import codecs
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from proxy.decode import UNREADABLE, Wire, merge, read_wire
from proxy.errors import Refused, RequestRefused
from proxy.event import Event, Facts
from proxy.placing import place
from proxy.receive.jsontext import (
    ARRAY_ITEM_DEPTH,
    BATCH_ITEM_DEPTH,
    is_deep,
    may_hold_surrogates,
    mend_surrogates,
    without_deep_items,
)
from proxy.receive.slices import MESSAGE_BYTES, SLICE_BYTES, Sliced, at_once

#: Segment's limits (docs: HTTP API, "Max request size"). 512,000: Ruby's and Java's SDKs fill
#: batches beyond the 500,000 that "500 KB" may be read as.
MAX_MESSAGE: Final = 32 * 1024
MAX_BATCH: Final = 512_000
MAX_MESSAGES: Final = 2_500  # of a batch; Segment answers 200 all the same
TOO_DEEP: Final = "the JSON is nested too deeply"


class Batch(msgspec.Struct, rename="camel"):
    """The body of /v1/batch and its like; the messages stay as they were written."""

    batch: list[msgspec.Raw] = []
    write_key: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    sent_at: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    integrations: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def key(self) -> str | None:
        """The writeKey beside the messages."""
        return _text_or_nothing(self.write_key)


class _Keyed(msgspec.Struct, rename="camel"):
    write_key: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Intake(msgspec.Struct, frozen=True):
    """What a request brought: events to keep, and how many messages were refused for what."""

    events: Sequence[Event]
    rejected: dict[str, int]

    @property
    def messages(self) -> int:
        """How many the request brought."""
        return len(self.events) + sum(self.rejected.values())


_batch = msgspec.json.Decoder(Batch)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_keyed = msgspec.json.Decoder(_Keyed)
_text = msgspec.json.Decoder(str)
_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


def new_message_id() -> str:
    """An id for a message that came without."""
    return f"kochava-proxy-{uuid.uuid4()}"


def read_batch(body: bytes) -> Sliced[Batch]:
    """The parts of a batch.

    Raises:
        RequestRefused: 400, this is not JSON, or no batch.

    """
    shape = 'a batch is an object with a list "batch"'
    batch: Batch = yield from _read_items(body, _batch, shape, BATCH_ITEM_DEPTH)
    return batch


def read_array(body: bytes) -> Sliced[Batch]:
    """A batch that is nothing but its messages.

    Raises:
        RequestRefused: 400, this is no JSON array.

    """
    items = yield from _read_items(body, _array, "an array", ARRAY_ITEM_DEPTH)
    return Batch(batch=items)


def read_message(body: bytes) -> tuple[bytes, str | None]:
    """The single message of a request, and its writeKey.

    Raises:
        RequestRefused: 400, this is not a JSON object.

    """
    raw = at_once(_mended(body))
    if is_deep(raw):
        raise RequestRefused(400, "bad_request", TOO_DEEP)
    return raw, _text_or_nothing(_read(raw, _keyed, "a message is an object").write_key)


def _mended(body: bytes) -> Sliced[bytes]:
    """Without the byte order mark that some clients write (RFC 8259, section 8.1: may be ignored).
    A lone surrogate would make the whole body unreadable, not just its own message.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if may_hold_surrogates(body):
        body = yield from mend_surrogates(body)
    return body


def _read_items(
    body: bytes, decoder: msgspec.json.Decoder[Any], shape: str, depth: int
) -> Sliced[Any]:
    """As `_read`, without the items that are nested too deeply; items are at `depth`."""
    body = yield from _mended(body)
    try:
        return decoder.decode(body)
    except RecursionError:
        body = yield from without_deep_items(body, depth)
    except UNREADABLE:
        pass  # says what is wrong with it
    return _read(body, decoder, shape)


def _read(body: bytes, decoder: msgspec.json.Decoder[Any], shape: str) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestRefused(400, "bad_request", f"{shape}: {error}") from None
    except RecursionError:
        raise RequestRefused(400, "bad_request", TOO_DEEP) from None
    except UNREADABLE as error:
        raise RequestRefused(400, "bad_request", f"the body is not JSON: {error}") from None


def key_of(raw: bytes) -> str | None:
    """The writeKey that one message names: some SDKs put it only there."""
    try:
        return _text_or_nothing(_keyed.decode(raw).write_key) or None
    except UNREADABLE:
        return None


def take_batch(
    batch: Batch,
    source: str,
    now: float,
    address: str | None,
    new_id: Callable[[], str],
    max_message: int = MAX_MESSAGE,
    max_messages: int = MAX_MESSAGES,
    *,
    deletions: bool = False,
) -> Sliced[Intake]:
    """Every message of a batch, each on its own: a bad one never sinks the rest.

    `deletions` says that whoever sends may ask for a user to be forgotten.
    """
    if not batch.batch:
        return Intake((), {"empty_batch": 1})
    raws = [bytes(raw) for raw in batch.batch[:max_messages]]
    beside = (batch.sent_at, batch.context, batch.integrations)
    if sum(len(raw) for raw in beside if isinstance(raw, msgspec.Raw)) > max_message:
        # It is part of every message, and would be kept with each.
        intake = Intake((), {"message_too_large": len(raws)})
    else:
        facts = Facts(
            ip=address,
            sent_at=_text_or_nothing(batch.sent_at),
            context=_object_or_nothing(batch.context),
            integrations=_object_or_nothing(batch.integrations),
        )
        intake = yield from _take(
            raws, source, now, facts, new_id, max_message, deletions=deletions
        )
    if len(batch.batch) > max_messages:
        intake.rejected["too_many_messages"] = len(batch.batch) - max_messages
    return intake


def take_message(
    raw: bytes, type_: str, source: str, now: float, address: str | None, new_id: Callable[[], str]
) -> Intake:
    """A message sent on its own; its type is the one that the path names. `raw` is what
    `read_message` answers, which has looked at its depth.
    """
    try:
        if len(raw) > MAX_MESSAGE:
            raise Refused("message_too_large")
        wire = read_wire(raw, type_)
    except Refused as refused:
        return Intake((), {refused.reason: 1})
    facts = _encode(Facts(ip=address))
    return Intake((_event(raw, wire, wire.context or {}, source, now, facts, new_id),), {})


def _take(
    raws: Sequence[bytes],
    source: str,
    now: float,
    facts: Facts,
    new_id: Callable[[], str],
    max_message: int,
    *,
    deletions: bool,
) -> Sliced[Intake]:
    events: list[Event] = []
    rejected: Counter[str] = Counter()
    encoded = _encode(facts)
    outer = {} if isinstance(facts.context, msgspec.UnsetType) else _object.decode(facts.context)
    done = 0
    for raw in raws:
        if done > SLICE_BYTES:
            yield
            done = 0
        done += len(raw) + MESSAGE_BYTES
        try:
            if len(raw) > max_message:
                raise Refused("message_too_large")
            if is_deep(raw):
                raise Refused("bad_request")
            wire = read_wire(raw, deletions=deletions)
        except Refused as refused:
            rejected[refused.reason] += 1
            continue
        context = merge(outer, wire.context or {})
        events.append(_event(raw, wire, context, source, now, encoded, new_id))
    return Intake(events, dict(rejected))


def _event(
    raw: bytes,
    wire: Wire,
    context: dict[str, Any],
    source: str,
    now: float,
    facts: bytes,
    new_id: Callable[[], str],
) -> Event:
    """`context` is the one that the message ends up with, `facts` are encoded."""
    placed = msgspec.structs.astuple(place(source, wire, context))  # in the order of `Event`
    message_id = wire.message_id or new_id()
    return Event(source, message_id, wire.type or "", now, facts, raw, *placed)


def _object_or_nothing(raw: msgspec.Raw | msgspec.UnsetType) -> msgspec.Raw | msgspec.UnsetType:
    """Anything but an object says nothing."""
    if isinstance(raw, msgspec.UnsetType):
        return raw
    try:
        _object.decode(raw)
    except UNREADABLE:
        return msgspec.UNSET
    return raw


def _text_or_nothing(raw: msgspec.Raw | msgspec.UnsetType) -> str | None:
    """Anything but a string says nothing, be it a number that nobody can hold."""
    try:
        return None if isinstance(raw, msgspec.UnsetType) else _text.decode(raw)
    except UNREADABLE:
        return None
