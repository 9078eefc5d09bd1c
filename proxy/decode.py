"""From bytes to messages: what Segment's clients send, checked once at the door and read again
from the spool.

Clients disagree about nulls, missing fields and times; what is tolerated, and the names of what
is not, follow Segment (its "Delivery Overview" lists the discard reasons used here).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from types import NoneType
from typing import Any, Final

import msgspec

from proxy.errors import Refused
from proxy.event import Event, Facts
from proxy.segment import Alias, Delete, Group, Identify, Message, Page, Screen, Track

TYPES: Final = frozenset({"track", "identify", "page", "screen", "group", "alias"})

MAX_MESSAGE_ID: Final = 100  # characters that an id stays below (docs: "Spec: Common Fields")

#: Libraries that run on the user's own device, by a part of `context.library.name`. Segment fills
#: `context.ip` from the connection for these and for no others (docs: HTTP API, "Context").
CLIENT_LIBRARIES: Final = (
    "analytics-ios", "analytics-android", "analytics-swift", "analytics-kotlin",
    "analytics-react-native", "analytics.js", "analytics-flutter", "analytics_flutter",
)  # fmt: skip


class Wire(msgspec.Struct, rename="camel"):
    """A message as clients write it. The types here are the checks; the path of what does not
    fit names the reason (`REASONS`).
    """

    type: str | None = None
    message_id: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    group_id: str | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    integrations: dict[str, Any] | None = None
    timestamp: Any = None
    original_timestamp: Any = None
    sent_at: Any = None
    received_at: Any = None
    write_key: Any = None


REASONS: Final = {
    "type": "invalid_type",
    "messageId": "id_not_string",
    "userId": "id_not_string",
    "anonymousId": "id_not_string",
    "previousId": "id_not_string",
    "groupId": "id_not_string",
    "event": "event_not_string",
    "name": "name_not_string",
    "category": "category_not_string",
    "properties": "properties_not_object",
    "traits": "traits_not_object",
    "context": "context_not_object",
    "integrations": "integrations_not_object",
}

#: What decoding untrusted bytes can raise: msgspec's own errors, bytes that are not UTF-8, and
#: nesting deeper than the interpreter allows.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_wire = msgspec.json.Decoder(Wire)
_facts = msgspec.json.Decoder(Facts)
_object = msgspec.json.Decoder(dict[str, Any])
_TEXT_OR_NULL: Final = (str, NoneType)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_EPOCH_DIGITS = re.compile(r"[0-9]{10}|[0-9]{13}")
_MAX_EPOCH_DIGITS: Final = 13
_USUAL: Final = len("2026-01-31T12:34:56.789Z")
_LEAST_MILLISECONDS: Final = 31_557_600_000  # in seconds this would be the year 2970
_PATH = re.compile(r" - at `\$\.(\w+)`$")


def read_wire(raw: bytes, type_: str | None = None, *, deletions: bool = False) -> Wire:
    """One message, checked. `type_` is the call that the request's path names; a message of a
    batch names its own. With `deletions` it may also be a request to forget a user.

    Raises:
        Refused: with Segment's name for what is wrong.

    """
    try:
        wire = _wire.decode(raw)
    except msgspec.ValidationError as error:
        path = _PATH.search(str(error))
        raise Refused(REASONS.get(path[1], "bad_request") if path else "bad_request") from None
    except UNREADABLE:
        raise Refused("bad_request") from None
    if type_ is not None:
        wire.type = type_
    _check(wire, deletions=deletions)
    return wire


def _check(wire: Wire, *, deletions: bool) -> None:
    if not wire.type:
        raise Refused("missing_type")
    if wire.type not in TYPES and not (deletions and wire.type == Delete.type):
        raise Refused("invalid_type")
    if len(wire.message_id or "") >= MAX_MESSAGE_ID:
        raise Refused("message_id_too_long")
    if not wire.user_id and not wire.anonymous_id:
        raise Refused("no_user_anon_id")
    if wire.type == "track" and not wire.event:
        raise Refused("event_not_defined")
    if wire.type == "group" and not wire.group_id:
        raise Refused("id_required")
    if wire.type == "alias" and not (wire.user_id and wire.previous_id):
        raise Refused("id_required")
    if wire.context:
        _check_context(wire.context)


def _check_context(context: dict[str, Any]) -> None:
    device = context.get("device")
    if isinstance(device, dict):
        for key in ("advertisingId", "advertising_id"):
            if not isinstance(device.get(key), _TEXT_OR_NULL):
                raise Refused("device_advertisingid_should_be_string")
    consent = context.get("consent")
    if consent is None:
        return
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if preferences is None:
        raise Refused("consent_categorypreferences_should_exist")
    if not isinstance(preferences, dict):
        raise Refused("consent_categorypreferences_fields_should_be_object")
    if not all(isinstance(value, bool) for value in preferences.values()):
        raise Refused("consent_categorypreferences_fields_should_be_bool")


def decode_event(event: Event) -> Message:
    """The typed message of a stored event; the same event always gives the same message.

    Raises:
        Refused: the row is not one that this door would have let in (a foreign or torn row).

    """
    wire = read_wire(event.raw, event.type, deletions=True)
    try:
        facts, batch_sent, received = _read_arrival(event.facts, event.received_at)
        context = merge(_optional(facts.context), wire.context or {})
        integrations = merge(_optional(facts.integrations), wire.integrations or {})
    except UNREADABLE:
        raise Refused("bad_request") from None
    common = {
        "message_id": event.message_id,
        "user_id": wire.user_id or None,
        "anonymous_id": wire.anonymous_id or None,
        "timestamp": _timestamp(wire, batch_sent, received),
        "received_at": received,
        "context": _with_address(context, facts.ip),
        "integrations": integrations,
    }
    return _message(wire, common)


@lru_cache(maxsize=64)  # the messages of a batch came together, and are delivered about so
def _read_arrival(encoded: bytes, at: float) -> tuple[Facts, datetime | None, datetime]:
    """The facts of a message's arrival, when its batch was sent, and when it was received."""
    facts = _facts.decode(encoded) if encoded else Facts()
    return facts, parse_time(facts.sent_at), datetime.fromtimestamp(at, UTC)


def _message(wire: Wire, common: dict[str, Any]) -> Message:
    match wire.type:
        case "track":
            return Track(event=wire.event or "", properties=wire.properties or {}, **common)
        case "identify":
            return Identify(traits=wire.traits or {}, **common)
        case "screen":
            return Screen(name=wire.name or None, properties=_with_category(wire), **common)
        case "page":
            return Page(name=wire.name or None, properties=_with_category(wire), **common)
        case "group":
            return Group(group_id=wire.group_id or "", traits=wire.traits or {}, **common)
        case "delete":
            return Delete(**common)
        case _:
            return Alias(previous_id=wire.previous_id or "", **common)


def _with_category(wire: Wire) -> dict[str, Any]:
    properties = wire.properties or {}
    if wire.category and "category" not in properties:
        return {**properties, "category": wire.category}
    return properties


def _optional(raw: msgspec.Raw | msgspec.UnsetType) -> dict[str, Any]:
    return {} if isinstance(raw, msgspec.UnsetType) else _object.decode(raw)


def merge(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """The batch's object with the message's laid over it, object by object; null says nothing."""
    if not outer:
        return inner
    merged = dict(outer)
    for key, value in inner.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = merge(below, value)
        elif value is not None or key not in merged:
            merged[key] = value
    return merged


def _with_address(context: dict[str, Any], address: str | None) -> dict[str, Any]:
    """`context` with `ip` filled from the connection where Segment would fill it.

    "0.0.0.0" counts as given: it is how users opt out (docs: Analytics for Android).
    """
    if address is None or context.get("ip"):
        return context
    library = context.get("library")
    name = library.get("name") if isinstance(library, dict) else None
    if (isinstance(name, str) and _from_client(name)) or context.get("direct") is True:
        return {**context, "ip": address}
    return context


@lru_cache(maxsize=32)  # there are few libraries
def _from_client(library: str) -> bool:
    return any(part in library for part in CLIENT_LIBRARIES)


def _timestamp(wire: Wire, batch_sent: datetime | None, received: datetime) -> datetime:
    """When it happened, by the server's clock: received - (sent - original).

    A message with both `originalTimestamp` and `timestamp` has been through Segment, which has
    corrected `timestamp` already. Without a time of sending the client's time stands as it is.
    Source: docs, "Spec: Common Fields", on timestamps and clock skew.
    """
    given = parse_time(wire.timestamp)
    original = parse_time(wire.original_timestamp)
    if given and original:
        return given
    happened = given or original
    if happened is None:
        return received
    sent = parse_time(wire.sent_at) or batch_sent
    if sent is None:
        return happened
    # Only Segment writes receivedAt; where it stands, it goes with this sentAt.
    try:
        corrected = (parse_time(wire.received_at) or received) - (sent - happened)
    except OverflowError:
        return happened
    return corrected if corrected > _EPOCH else happened


def parse_time(value: object) -> datetime | None:
    """An ISO 8601 time as aware UTC; digits past the microsecond are cut, no offset means UTC.

    Epoch seconds and milliseconds are read too, as Segment's classic destinations did
    (segmentio/new-date). A time before 1970 is what Go and .NET write for none.
    """
    if value is None:
        return None
    try:
        moment = _moment(value)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment is not None and moment > _EPOCH else None


def _moment(value: object) -> datetime | None:
    if isinstance(value, str):
        if len(value) == _USUAL and value[-1] == "Z":  # as most SDKs write it: no more to look at
            return datetime.fromisoformat(value)
        value = value.strip().upper()
        if len(value) > _MAX_EPOCH_DIGITS or not _EPOCH_DIGITS.fullmatch(value):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is UTC:
                return moment
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value if value < _LEAST_MILLISECONDS else value / 1_000, UTC)
