"""Kochava's postbacks: which parameter means what, and which install one speaks of.

Whoever sets up the postback writes its URL, and with that the names of its parameters; vendors
spell them differently. docs/postbacks.md has the URL to paste. What is kept is what came in; the
names are read anew each time, so that a mended setting reaches the backlog.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from proxy.errors import Refused
from proxy.event import Event
from proxy.segment import Postback

#: Our name of each parameter, and the spellings by which it is known, the first given one counts.
#: Kochava's own names for its macros were not published where anybody can read them (its "Create a
#: Custom Postback" lists their meanings); these are its SDK's and its partners' words.
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "event_name": ("event_name", "event"),
    "event_time": ("event_time", "event_datetime", "datetime", "install_time", "timestamp"),
    "kochava_device_id": ("kochava_device_id", "kochava_id", "device_id"),
    "idfa": ("idfa",),
    "idfv": ("idfv",),
    "adid": ("adid", "gaid", "google_aid", "advertising_id"),
    "android_id": ("android_id",),
    "platform": ("platform", "os_name", "os"),
    "ip": ("ip", "device_ip", "ip_address", "origination_ip"),
    "user_agent": ("user_agent", "device_ua", "ua"),
    "attribution": ("attribution", "attributed"),
    "network": ("network", "network_name", "media_source"),
    "campaign": ("campaign", "campaign_name"),
    "campaign_id": ("campaign_id",),
    "medium": ("medium", "attribution_prompt"),
    "content": ("content", "keyword"),
    "creative": ("creative", "creative_name", "creative_id"),
    "ad_group": ("ad_group", "adgroup", "ad_group_name", "adgroup_name"),
    "ad_group_id": ("ad_group_id", "adgroup_id"),
    "click_date": ("click_date", "click_time"),
    "conversion_date": ("conversion_date",),
    "lineitem_id": ("lineitem_id",),
    "lineitem_name": ("lineitem_name",),
}

#: What tells devices from each other, the id that this proxy gave Kochava first.
IDS: Final = ("kochava_device_id", "idfa", "idfv", "adid", "android_id")

#: Kochava's event name of installs ("Create a Custom Postback"), and what people write for it.
INSTALLS: Final = ("_install", "install")

_MACRO: Final = re.compile(r"\{[\w.:-]+\}")  # a word in braces, which no JSON is
_decode = msgspec.json.Decoder(dict[str, str]).decode


def spellings(further: Mapping[str, str | tuple[str, ...]]) -> dict[str, str]:
    """Our name by each spelling; `further` ones are the config's, and come before ours."""
    found: dict[str, str] = {}
    for names in (further, NAMES):
        for name, given in names.items():
            for spelling in (given,) if isinstance(given, str) else given:
                found.setdefault(spelling, name)
    return found


def read_fields(raw: bytes, names: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a stored postback that say something, by our names. `names` is what
    `spellings` answers.

    Raises:
        msgspec.MsgspecError: these are no parameters.

    """
    given = {key: value.strip() for key, value in _decode(raw).items()}
    said = {key: value for key, value in given.items() if value and not _MACRO.search(value)}
    fields: dict[str, str] = {}
    for spelling, name in names.items():  # in the order in which they count
        if spelling in said:
            fields.setdefault(name, said.pop(spelling))
    for key, value in said.items():
        fields.setdefault(key, value)
    return fields


def ids_of(fields: Mapping[str, str]) -> list[str]:
    """What the device is known by, the surest id first; none that is all zeros."""
    return [fields[key] for key in IDS if fields.get(key, "").strip("0-")]


def is_install(fields: Mapping[str, str]) -> bool:
    """Whether a postback speaks of an install, as one without an event's name does."""
    return fields.get("event_name", INSTALLS[0]).lower() in INSTALLS


def postback_id(source: str, fields: Mapping[str, str]) -> str:
    """The same for every repeat of a postback: an install is one of a device, anything else one
    of all that was said.
    """
    ids = ids_of(fields)
    if ids and is_install(fields):
        said = [ids[0].lower()]
    else:
        said = [f"{key}={value}" for key, value in sorted(fields.items())]
    digest = hashlib.blake2b("\0".join((source, *said)).encode(errors="replace"), digest_size=16)
    return f"kochava-{digest.hexdigest()}"


def decode_postback(event: Event, names: Mapping[str, str]) -> Postback:
    """The postback of a stored event; `names` as for `read_fields`.

    Raises:
        Refused: a foreign or torn row.

    """
    try:
        fields = read_fields(event.raw, names)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Refused("bad_request") from None
    return Postback(
        message_id=event.message_id,
        received_at=datetime.fromtimestamp(event.received_at, UTC),
        fields=fields,
    )
