"""What a postback says of an install, and the call that it is: Kochava's macros, filled in.

An operator writes a URL with macros in braces ("Create a Custom Postback"). Their spellings were
not published where anybody can read them: those here are the ones of docs/postbacks.md, and
`network_name` is a partner's (GameAnalytics, "Kochava").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote

import msgspec

Method = Literal["get", "post-form", "post-json"]

#: What is sent to a URL without a macro.
PARAMETERS: Final = (
    "event_name", "event_time", "kochava_device_id", "idfa", "idfv", "adid", "android_id",
    "platform", "ip", "user_agent", "attribution", "network_name", "campaign", "campaign_id",
    "medium", "content", "creative", "ad_group", "ad_group_id", "click_date", "conversion_date",
    "lineitem_id", "lineitem_name",
)  # fmt: skip

#: What installs are attributed to, one of these for each device; the last one is organic.
ATTRIBUTIONS: Final[tuple[dict[str, str], ...]] = (
    {
        "attribution": "true",
        "network_name": "Acme Ads",
        "campaign": "Spring",
        "campaign_id": "c-1",
        "medium": "click",
        "creative": "red-1",
        "ad_group": "lookalike",
        "ad_group_id": "g-1",
    },
    {
        "attribution": "true",
        "network_name": "Search & Co",
        "campaign": "Brand",
        "content": "acme app",
    },
    {"attribution": "false"},
)

#: What Apple said of an install, by Apple's names ("Create an Apple Search Ads Campaign").
APPLE: Final = {
    "attribution": "iad-attribution",
    "campaign": "iad-campaign-name",
    "campaign_id": "iad-campaign-id",
    "content": "iad-keyword",
    "ad_group": "iad-adgroup-name",
    "ad_group_id": "iad-adgroup-id",
    "click_date": "iad-click-date",
    "conversion_date": "iad-conversion-date",
    "lineitem_id": "iad-lineitem-id",
    "lineitem_name": "iad-lineitem-name",
}

#: As it is written, or with the braces encoded, as browsers do when a URL is copied.
_MACRO: Final = re.compile(r"\{(\w+)\}|%7[Bb](\w+)%7[Dd]")


class Call(msgspec.Struct, frozen=True):
    """A postback as it is sent: a URL that is encoded, and what goes into the body, if any."""

    method: Method
    url: str
    fields: dict[str, str]


def values_for(body: Mapping[str, Any]) -> dict[str, str]:
    """The values of the macros for an install, those that are known; the same for the same
    device.
    """
    data = _object(body.get("data"))
    ids = {key: str(id_) for key, id_ in _object(data.get("device_ids")).items() if id_}
    known = {
        "event_name": "_install",
        "event_time": data.get("usertime"),
        "kochava_device_id": body.get("kochava_device_id"),
        **{key: ids.get(key) for key in ("idfa", "idfv", "adid", "android_id")},
        "platform": _platform(ids),
        "ip": data.get("origination_ip"),
        "user_agent": data.get("device_ua"),
        **_attribution(str(body.get("kochava_device_id")), data),
    }
    # Half surrogates, which JSON can hold and UTF-8 cannot, become marks.
    said = {key: str(it).encode(errors="replace").decode() for key, it in known.items() if it}
    if "network_name" in said:
        said["network"] = said["network_name"]
    return said


def make_call(template: str, method: Method, values: Mapping[str, str]) -> Call:
    """The call of a URL. One that has no macro gets every parameter. A macro that nothing is
    known for stays as it is. By POST, what a URL with macros has in its query goes into the body.
    """
    if not _MACRO.search(template):
        given = {name: values.get(name, f"{{{name}}}") for name in PARAMETERS}
        if method != "get":
            return Call(method, template, given)
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
        return Call(method, f"{template}{'&' if '?' in template else '?'}{query}", {})

    def fill(macro: re.Match[str]) -> str:
        value = values.get(macro[1] or macro[2])
        return macro[0] if value is None else quote(value, safe="")

    url = _MACRO.sub(fill, template)
    if method == "get":
        return Call(method, url, {})
    url, _, query = url.partition("?")
    return Call(method, url, dict(parse_qsl(query, keep_blank_values=True)))


def _attribution(device_id: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What Apple said, or one of those that are made up."""
    apple = _object(_object(data.get("iad_attribution_details")).get("Version3.1"))
    if apple.get("iad-attribution") == "true":
        said = {name: apple.get(key) for name, key in APPLE.items()}
        return {"network_name": "Apple Search Ads", **said}
    number = hashlib.blake2b(device_id.encode(errors="replace"), digest_size=2).digest()
    return dict(ATTRIBUTIONS[int.from_bytes(number) % len(ATTRIBUTIONS)])


def _platform(ids: Mapping[str, str]) -> str | None:
    """By the ids that only one of the two has."""
    if ids.keys() & {"idfa", "idfv"}:
        return "ios"
    return "android" if ids.keys() & {"adid", "android_id"} else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
