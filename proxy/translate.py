"""What mappings have in common: the parts of a Kochava request that do not depend on the call.

Each function is one or a few rows of docs/mapping.md. Plugin authors import them from `proxy`.
"""

from __future__ import annotations

import math
import re
import socket
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from proxy.device import Device, section, text
from proxy.errors import Filtered
from proxy.kochava import KochavaRequest
from proxy.segment import Identify, Message, Source, Track

#: event_data keys that Kochava keeps for itself (Post-Install Event Examples, "reserved").
RESERVED_KEYS: Final = frozenset({
    "network", "source", "fb_campaign", "campaign", "site", "creative", "attribution_type",
    "integration_type", "integration_version", "cracked", "jailbroken",
})  # fmt: skip
RESERVED_PREFIX: Final = "segment_"

#: The address by which Segment's users opt out of having theirs known.
NO_ADDRESS: Final = "0.0.0.0"  # noqa: S104  not an address to bind to

#: The install's key for Apple's AdServices token, and the option that may hold it.
AD_SERVICES_TOKEN: Final = "ad_services_token"  # noqa: S105  a key, not a token
#: After this Apple knows a token no more (developer.apple.com, AdServices, attributionToken()).
AD_SERVICES_TOKEN_SECONDS: Final = 86_400.0

#: The track calls of Engage as `spelled`: the property that names the audience or trait, and the
#: value where it is not written out (segment.com/docs/engage, "Using Engage Data").
_COMPUTED: Final[dict[str, tuple[str, bool | None]]] = {
    "audience entered": ("audience_key", True),
    "audience exited": ("audience_key", False),
    "trait computed": ("trait_key", None),
}

_NESTED: Final = (dict, list)
_SCALARS: Final = frozenset({str, int, float, bool})
_MAX_DEPTH = 8
#: Characters of a joined name from which on it is not joined further: a long name before many keys
#: would make a request of 26 MB out of a message of 29 KB.
_MAX_JOINED = 100
_AMOUNT = re.compile(  # "*+" never gives back: a run of spaces must not take quadratic time
    r"(?P<sign>[-+]?\s*+\$?|\$\s*+[-+]?)\s*+"
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?P<power>[eE][-+]?\d+)?"
    r"(?:\s*[A-Za-z]{3})?"
)
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[\W_]+")
_SYSTEMS: Final = {"ios": "iOS", "iphone os": "iOS", "android": "Android"}


def app_id_for(source: Source, device: Device) -> str:
    """The Kochava app of this device.

    Raises:
        Filtered: "unknown_platform" where app ids are given per platform and the message names
            none; "no_app_id" where the config names no app for its platform.

    """
    app_id = source.app_id(device.platform)
    if app_id:
        return app_id
    raise Filtered("no_app_id" if device.platform else "unknown_platform")


def common_data(message: Message, device: Device) -> dict[str, Any]:
    """The `data` that installs and events share: device, time, address, user agent, consent."""
    context = message.context
    user_agent = text(context.get("userAgent"))
    data: dict[str, Any] = {
        "device_ids": dict(device.ids),
        "usertime": int(message.timestamp.timestamp()),
        "device_ua": user_agent or "",
        "device_ver": "" if user_agent else device_version(context),
    }
    address = text(context.get("ip"))
    if address and address != NO_ADDRESS and is_address(address):
        data["origination_ip"] = address
    version = text(section(context, "app").get("version"))
    if version:
        data["app_version"] = version
    if device.limit_tracking is not None:
        data["device_limit_tracking"] = device.limit_tracking
    if device.att is not None:
        data["app_tracking_transparency"] = device.att
    return data


def is_address(value: str) -> bool:
    """Whether this is an IP address of either version."""
    try:  # ten times as fast as the module ipaddress
        socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value)
    except (OSError, ValueError):
        return False
    return True


def device_version(context: dict[str, Any]) -> str:
    """The "Model-OS-Version" that Kochava reads where there is no user agent.

    "" if one of the three is missing. Source: Kochava, "S2S Without Device UA".
    """
    system = text(section(context, "os").get("name")) or ""
    parts = (
        text(section(context, "device").get("model")),
        _SYSTEMS.get(system.lower(), system),
        text(section(context, "os").get("version")),
    )
    return "-".join(part for part in parts if part) if all(parts) else ""


def event_request(
    message: Message, source: Source, device: Device, event_name: str, fields: dict[str, Any]
) -> KochavaRequest:
    """An event with these fields as `event_data`, the message's Kochava options laid over them.

    The AdServices token among the options is an install's alone.
    """
    options = section(message.integrations, "Kochava")
    if options:
        fields = {**fields, **_without_token(options)}
    app_id = app_id_for(source, device)
    data = common_data(message, device)
    data["event_name"] = event_name
    data["event_data"] = event_data(fields)
    return KochavaRequest(
        action="event",
        kochava_app_id=app_id,
        kochava_device_id=device.kochava_device_id,
        data=data,
    )


def without_stale_token(request: KochavaRequest, age_seconds: float) -> KochavaRequest:
    """`request` without the AdServices token of a message so old that Apple has forgotten it.

    Answers the same object where there is nothing to take out. Nobody says what Kochava makes of a
    stale token; what is certain is that no campaign can come of it.
    """
    if age_seconds < AD_SERVICES_TOKEN_SECONDS or AD_SERVICES_TOKEN not in request.data:
        return request
    return replace(request, data=_without_token(request.data))


def _without_token(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != AD_SERVICES_TOKEN}


def engage_identify(message: Track) -> Identify | None:
    """What Engage says in a `track` call, in the form of its `identify` call; None for any other.

    Engage is known by `context.personas`: without it, an event of such a name is somebody's own.
    The properties stand as traits, since Engage puts the traits that enrich a call beside the
    computed one in both forms.

    Raises:
        Filtered: "nothing_to_link" where the call does not say what was computed.

    """
    personas = section(message.context, "personas")
    named = _COMPUTED.get(spelled(message.event)) if personas else None
    if named is None:
        return None
    key_property, value = named
    key = text(message.properties.get(key_property)) or text(personas.get("computation_key"))
    if key is not None and message.properties.get(key) is not None:
        value = message.properties[key]
    if key is None or value is None:
        raise Filtered("nothing_to_link")
    return Identify(
        message_id=message.message_id,
        user_id=message.user_id,
        anonymous_id=message.anonymous_id,
        timestamp=message.timestamp,
        received_at=message.received_at,
        context={**message.context, "personas": {**personas, "computation_key": key}},
        integrations=message.integrations,
        traits={**message.properties, key: value},
    )


def event_data(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` as Kochava takes them: flat, without nulls, reserved keys out of the way, and
    `sum` a number.

    A nested object's keys are joined with "_"; a list, or what is nested beyond reason, becomes
    JSON text. A key that is written
    out wins over one that comes from joining or from the prefix.
    """
    flat = flatten(fields)
    if not RESERVED_KEYS.isdisjoint(map(str.lower, flat)):
        for key in [key for key in flat if key.lower() in RESERVED_KEYS]:
            flat.setdefault(RESERVED_PREFIX + key, flat.pop(key))
    if "sum" in flat:  # Kochava adds them up: one that is no number keeps out of the way
        said = flat.pop("sum")
        total = amount(said)
        if total is None:
            flat.setdefault(RESERVED_PREFIX + "sum", said)
        else:
            flat["sum"] = total
    return flat


def flatten(fields: dict[str, Any]) -> dict[str, Any]:
    """One level of scalars: see `event_data`."""
    if _SCALARS.issuperset(map(type, fields.values())):  # as most are already
        return dict(fields)
    flat: dict[str, Any] = {}
    level: Iterable[tuple[str, Any]] = fields.items()
    for depth in range(_MAX_DEPTH):
        deeper: list[tuple[str, Any]] = []
        for key, value in level:
            if not isinstance(value, _NESTED):
                if value is not None:
                    flat.setdefault(key, value)
                continue
            joins = depth < _MAX_DEPTH - 1 and len(key) <= _MAX_JOINED
            if isinstance(value, dict) and joins:
                deeper += ((f"{key}_{inner}", leaf) for inner, leaf in value.items())
            else:
                flat.setdefault(key, msgspec.json.encode(value).decode())
        if not deeper:
            break
        level = deeper
    return flat


def amount(value: object) -> float | int | None:
    """A sum of money as a number, from a number or from text such as "9.99", "$1,299.00" or
    "9.99 USD"; None for all else. Segment's classic destinations read revenue so (facade).
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value if abs(value) <= sys.float_info.max else None
    match = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        return None
    number = float(match["number"].replace(",", "") + (match["power"] or ""))
    if not math.isfinite(number):
        return None
    return -number if "-" in match["sign"] else number


@lru_cache(maxsize=256)  # there are few names, and many events of each
def spelled(name: str) -> str:
    """An event's name so that case, stray spaces and "_" for a space make no difference."""
    return " ".join(name.replace("_", " ").lower().split())


@lru_cache(maxsize=256)
def snake_case(name: str) -> str:
    """Both "favoriteColor" and "Favorite Color" as "favorite_color"."""
    return _SEPARATORS.sub("_", _WORD_ENDS.sub("_", name).lower()).strip("_")
