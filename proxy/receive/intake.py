"""From a request's body to events: split, check one by one, refuse what is not acceptable."""

from __future__ import annotations

import codecs
import re
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Final

import msgspec

from proxy.decode import UNREADABLE, Wire, mend_surrogates, read_wire
from proxy.errors import Refused, RequestRefused
from proxy.event import Event, Facts

#: Segment's limits (docs: HTTP API, "Max request size"). 512,000: Ruby's and Java's SDKs fill
#: batches beyond the 500,000 that "500 KB" may be read as.
MAX_MESSAGE: Final = 32 * 1024
MAX_BATCH: Final = 512_000
MAX_MESSAGES: Final = 2_500  # of a batch; Segment answers 200 all the same
TOO_DEEP: Final = "the JSON is nested too deeply"
#: Of a message. The decoder gives up only at the interpreter's limit, which differs by version, and
#: what is read at the edge of it may not be written again.
_MAX_DEPTH: Final = 200
_ITEM_DEPTH: Final = 3  # {"batch": [{ ... }]}
_ARRAY_ITEM_DEPTH: Final = 2  # [{ ... }]
# A string without its end still is one token: looking for it again from every escaped quote in it
# would take hours. Brackets come in runs, since half a megabyte of them would else take long too.
_STRING: Final = rb'"(?:[^"\\]|\\.)*+"?'
_STRINGS = re.compile(_STRING, re.DOTALL)
_TOKENS = re.compile(_STRING + rb"|[\[{]+|[\]}]+", re.DOTALL)
_OPENING: Final = b"[{"
_CLOSING: Final = b"]}"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_OPENING + _CLOSING))
_STEPS: Final = dict.fromkeys(_OPENING, 1) | dict.fromkeys(_CLOSING, -1)


class Batch(msgspec.Struct, rename="camel"):
    """The body of /v1/batch and its like; the messages stay as they were written."""

    batch: list[msgspec.Raw] = []
    write_key: Any = None
    sent_at: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    integrations: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Keyed(msgspec.Struct, rename="camel"):
    write_key: Any = None


class Intake(msgspec.Struct, frozen=True):
    """What a request brought: events to keep, and how many messages were refused for what."""

    events: Sequence[Event]
    rejected: dict[str, int]


_batch = msgspec.json.Decoder(Batch)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_keyed = msgspec.json.Decoder(_Keyed)
_text = msgspec.json.Decoder(str)
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
    shape = 'a batch is an object with a list "batch"'
    batch: Batch = _read_items(mended(body), _batch, shape, _ITEM_DEPTH)
    return batch


def read_array(body: bytes) -> Batch:
    """A batch that is nothing but its messages.

    Raises:
        RequestRefused: 400, this is no JSON array.

    """
    return Batch(batch=_read_items(mended(body), _array, "an array", _ARRAY_ITEM_DEPTH))


def first_item(body: bytes) -> bytes:
    """The first element of an array, byte for byte; nothing if it is no object and no list."""
    begin = body.index(b"[") + 1
    depth = 0
    for token in _TOKENS.finditer(body, begin):
        if not depth and (
            body[token.start()] not in _OPENING or body[begin : token.start()].strip()
        ):
            break
        depth += _STEPS.get(token[0][0], 0) * len(token[0])
        if depth <= 0:
            return body[begin : token.end() + depth].strip()
    return b""


def read_message(body: bytes) -> tuple[bytes, object]:
    """The single message of a request, and its writeKey.

    Raises:
        RequestRefused: 400, this is not a JSON object.

    """
    raw = mended(body)
    if is_deep(raw):
        raise RequestRefused(400, "bad_request", TOO_DEEP)
    return raw, _read(raw, _keyed, "a message is an object").write_key


def mended(body: bytes) -> bytes:
    """Without the byte order mark that some clients write (RFC 8259, section 8.1: may be ignored).
    A lone surrogate would make the whole body unreadable, not just its own message.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    return mend_surrogates(body) if b"\\ud" in body or b"\\uD" in body else body


def _read_items(body: bytes, decoder: msgspec.json.Decoder[Any], shape: str, depth: int) -> Any:
    """As `_read`, without the items that are nested too deeply; items are at `depth`."""
    try:
        return decoder.decode(body)
    except RecursionError:
        return _read(without_deep_items(body, depth), decoder, shape)
    except UNREADABLE:
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


def is_deep(raw: bytes) -> bool:
    """Whether a message is nested beyond what any real one is."""
    if raw.count(b"{") + raw.count(b"[") <= _MAX_DEPTH:
        return False
    brackets = _STRINGS.sub(b"", raw).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > _MAX_DEPTH


def without_deep_items(body: bytes, item_depth: int = _ITEM_DEPTH) -> bytes:
    """JSON in which every item of an outer list that is nested too deeply is null, so that one
    such message is refused by itself and does not make the whole batch unreadable.
    """
    kept: list[bytes] = []
    depth = deepest = begin = end = 0
    for token in _TOKENS.finditer(body):
        at, before = token.start(), depth
        if body[at] in _OPENING:
            depth += token.end() - at
            if before < item_depth <= depth:
                begin, deepest = at + item_depth - before - 1, 0
            deepest = max(deepest, depth)
        elif body[at] in _CLOSING:
            depth -= token.end() - at
            if depth < item_depth <= before and deepest > _MAX_DEPTH:
                kept += (body[end:begin], b"null")
                end, deepest = at + before - item_depth + 1, 0
    return b"".join((*kept, body[end:]))


def key_of(raw: bytes) -> str | None:
    """The writeKey that one message names: some SDKs put it only there."""
    try:
        key = _keyed.decode(raw).write_key
    except UNREADABLE:
        return None
    return key if isinstance(key, str) and key else None


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
) -> Intake:
    """Every message of a batch, each on its own: a bad one never sinks the rest.

    `deletions` says that whoever sends may ask for a user to be forgotten.
    """
    facts = Facts(
        ip=address,
        sent_at=_text_or_nothing(batch.sent_at),
        context=_object_or_nothing(batch.context),
        integrations=_object_or_nothing(batch.integrations),
    )
    if not batch.batch:
        return Intake((), {"empty_batch": 1})
    raws = [bytes(raw) for raw in batch.batch[:max_messages]]
    check = partial(_check_item, deletions=deletions)
    intake = _take(raws, check, max_message, source, now, facts, new_id)
    if len(batch.batch) > max_messages:
        intake.rejected["too_many_messages"] = len(batch.batch) - max_messages
    return intake


def take_message(
    raw: bytes, type_: str, source: str, now: float, address: str | None, new_id: Callable[[], str]
) -> Intake:
    """A message sent on its own; its type is the one that the path names."""
    check = partial(read_wire, type_=type_)
    return _take([raw], check, MAX_MESSAGE, source, now, Facts(ip=address), new_id)


def _check_item(raw: bytes, *, deletions: bool) -> Wire:
    """A message sent on its own has been through `read_message`, which looks at its depth."""
    if is_deep(raw):
        raise Refused("bad_request")
    return read_wire(raw, deletions=deletions)


def _take(
    raws: Sequence[bytes],
    check: Callable[[bytes], Wire],
    max_message: int,
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
            if len(raw) > max_message:
                raise Refused("message_too_large")
            wire = check(raw)
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


def _text_or_nothing(raw: msgspec.Raw | msgspec.UnsetType) -> str | None:
    """Anything but a string says nothing, be it a number that nobody can hold."""
    try:
        return None if isinstance(raw, msgspec.UnsetType) else _text.decode(raw)
    except UNREADABLE:
        return None
