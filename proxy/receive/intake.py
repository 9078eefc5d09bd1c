"""From a request's body to events: split, check one by one, refuse what is not acceptable."""

from __future__ import annotations

import codecs
import re
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from proxy.decode import UNREADABLE, mend_surrogates, read_wire
from proxy.errors import Refused, RequestRefused
from proxy.event import Event, Facts

#: Segment's limits (docs: HTTP API, "Max request size"). 512,000: Ruby's and Java's SDKs fill
#: batches beyond the 500,000 that "500 KB" may be read as.
MAX_MESSAGE: Final = 32 * 1024
MAX_BATCH: Final = 512_000
TOO_DEEP: Final = "the JSON is nested too deeply"
#: Of a message. The decoder gives up only at the interpreter's limit, which differs by version, and
#: what is read at the edge of it may not be written again.
_MAX_DEPTH: Final = 200
_ITEM_DEPTH: Final = 3  # {"batch": [{ ... }]}
# A string without its end still is one token: looking for it again from every escaped quote in it
# would take hours.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class Batch(msgspec.Struct, rename="camel"):
    """The body of /v1/batch and its like; the messages stay as they were written."""

    batch: list[msgspec.Raw] = []
    write_key: Any = None
    sent_at: Any = None
    context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    integrations: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Keyed(msgspec.Struct, rename="camel"):
    write_key: Any = None


class Intake(msgspec.Struct, frozen=True):
    """What a request brought: events to keep, and how many messages were refused for what."""

    events: Sequence[Event]
    rejected: dict[str, int]


_batch = msgspec.json.Decoder(Batch)
_keyed = msgspec.json.Decoder(_Keyed)
_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


def new_message_id() -> str:
    """An id for a message that came without."""
    return f"kochava-proxy-{uuid.uuid4()}"


def read_batch(body: bytes) -> Batch:
    """The parts of a batch.

    Raises:
        RequestRefused: 400, this is not JSON, or no batch.

    """
    body = _mended(body)
    shape = 'a batch is an object with a list "batch"'
    try:
        batch: Batch = _batch.decode(body)
    except RecursionError:
        batch = _read(without_deep_items(body), _batch, shape)
    except UNREADABLE:
        batch = _read(body, _batch, shape)
    return batch


def read_message(body: bytes) -> tuple[bytes, object]:
    """The single message of a request, and its writeKey.

    Raises:
        RequestRefused: 400, this is not a JSON object.

    """
    raw = _mended(body)
    if is_deep(raw):
        raise RequestRefused(400, "bad_request", TOO_DEEP)
    return raw, _read(raw, _keyed, "a message is an object").write_key


def _mended(body: bytes) -> bytes:
    """Without the byte order mark that some clients write (RFC 8259, section 8.1: may be ignored).
    A lone surrogate would make the whole body unreadable, not just its own message.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    return mend_surrogates(body) if b"\\ud" in body or b"\\uD" in body else body


def _read(body: bytes, decoder: msgspec.json.Decoder[Any], shape: str) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestRefused(400, "bad_request", f"{shape}: {error}") from None
    except RecursionError:
        raise RequestRefused(400, "bad_request", TOO_DEEP) from None
    except UNREADABLE as error:
        raise RequestRefused(400, "bad_request", f"the body is not JSON: {error}") from None


def is_deep(raw: bytes) -> bool:
    """Whether a message is nested beyond what any real one is."""
    if raw.count(b"{") + raw.count(b"[") <= _MAX_DEPTH:
        return False
    depth = 0
    for token in _TOKENS.finditer(raw):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth > _MAX_DEPTH:
                return True
        elif token[0] in (b"]", b"}"):
            depth -= 1
    return False


def without_deep_items(body: bytes) -> bytes:
    """JSON in which every item of an outer list that is nested too deeply is null, so that one
    such message is refused by itself and does not make the whole batch unreadable.
    """
    kept: list[bytes] = []
    depth = deepest = begin = end = 0
    for token in _TOKENS.finditer(body):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                if depth == _ITEM_DEPTH:
                    begin, deepest = token.start(), depth
                deepest = max(deepest, depth)
            case b"]" | b"}":
                depth -= 1
                if depth == _ITEM_DEPTH - 1 and deepest > _MAX_DEPTH:
                    kept += (body[end:begin], b"null")
                    end, deepest = token.end(), 0
    return b"".join((*kept, body[end:]))


def key_of_first(batch: Batch) -> object:
    """The writeKey of a batch's first message: some SDKs put it only there."""
    try:
        return _keyed.decode(batch.batch[0]).write_key if batch.batch else None
    except UNREADABLE:
        return None


def take_batch(
    batch: Batch, source: str, now: float, address: str | None, new_id: Callable[[], str]
) -> Intake:
    """Every message of a batch, each on its own: a bad one never sinks the rest."""
    facts = Facts(
        ip=address,
        sent_at=batch.sent_at if isinstance(batch.sent_at, str) else None,
        context=_object_or_nothing(batch.context),
        integrations=_object_or_nothing(batch.integrations),
    )
    if not batch.batch:
        return Intake((), {"empty_batch": 1})
    return _take([bytes(raw) for raw in batch.batch], None, source, now, facts, new_id)


def take_message(
    raw: bytes, type_: str, source: str, now: float, address: str | None, new_id: Callable[[], str]
) -> Intake:
    """A message sent on its own; its type is the one that the path names."""
    return _take([raw], type_, source, now, Facts(ip=address), new_id)


def _take(
    raws: Sequence[bytes],
    type_: str | None,
    source: str,
    now: float,
    facts: Facts,
    new_id: Callable[[], str],
) -> Intake:
    events: list[Event] = []
    rejected: Counter[str] = Counter()
    encoded = _encode(facts)
    for raw in raws:
        try:
            if len(raw) > MAX_MESSAGE:
                raise Refused("message_too_large")
            if is_deep(raw):
                raise Refused("bad_request")
            wire = read_wire(raw, type_)
        except Refused as refused:
            rejected[refused.reason] += 1
            continue
        message_id = wire.message_id or new_id()
        events.append(Event(source, message_id, wire.type or "", now, encoded, raw))
    return Intake(events, dict(rejected))


def _object_or_nothing(raw: msgspec.Raw | msgspec.UnsetType) -> msgspec.Raw | msgspec.UnsetType:
    """Anything but an object says nothing."""
    if isinstance(raw, msgspec.UnsetType):
        return raw
    try:
        _object.decode(raw)
    except UNREADABLE:
        return msgspec.UNSET
    return raw
