"""Which device a message speaks of: its platform and the ids that Kochava may be told.

The rules are rows of docs/mapping.md, "Device ids". They are here, and not in a plugin, because
order, identities and every mapping must agree on them.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, cast

import msgspec

from proxy.segment import Message

Platform = Literal["ios", "android"]

_PLATFORMS: Final[dict[str, Platform]] = {
    # Kochava's device ids are the same (IDFA, IDFV) on all of these Apple systems.
    **dict.fromkeys(
        ("ios", "iphone os", "iphone", "ipad", "ipados", "tvos", "watchos", "visionos"), "ios"
    ),
    **dict.fromkeys(("android", "android tv", "androidtv"), "android"),
}
_LIBRARY = re.compile(r"(?<![a-z])(ios|android)(?![a-z])")  # not the "ios" in "axios"
_ANDROID_ID = re.compile(r"[0-9a-fA-F]{16}")

#: Apple's ATTrackingManager.AuthorizationStatus by number and by Segment's words for it.
_ATT_STATUS: Final = {
    "0": "notDetermined", "notdetermined": "notDetermined", "not_determined": "notDetermined",
    "1": "restricted", "restricted": "restricted",
    "2": "denied", "denied": "denied",
    "3": "authorized", "authorized": "authorized",
}  # fmt: skip


#: The message read last, and its device.
_last: list[object] = [None, None]


class Device(msgspec.Struct, frozen=True):
    """A device as Kochava knows it.

    `kochava_device_id` is "" where the message has neither a device id nor an anonymous id.
    `ids` are the entries of `device_ids`, never empty strings. `limit_tracking` is None where the
    message does not say. `att` is the app_tracking_transparency object, None except on iOS.
    """

    platform: Platform | None
    kochava_device_id: str
    ids: dict[str, str] = {}
    limit_tracking: bool | None = None
    att: dict[str, Any] | None = None


def text(value: object) -> str | None:
    """`value` without surrounding space if it is a string that says something, else None."""
    return (value.strip() or None) if isinstance(value, str) else None


def section(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """`parent[key]` if it is an object, else an empty one."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def is_zero(identifier: str) -> bool:
    """Whether an id is the all-zero one that systems give when tracking is limited."""
    return not identifier.strip("0-")


def read_platform(context: dict[str, Any]) -> Platform | None:
    """The first of device type, system name and library name that names a platform we know."""
    for name, key in (("device", "type"), ("os", "name")):
        said = section(context, name).get(key)
        platform = _PLATFORMS.get(said.strip().lower()) if isinstance(said, str) else None
        if platform:
            return platform
    library = _LIBRARY.search((text(section(context, "library").get("name")) or "").lower())
    return _PLATFORMS[library[1]] if library else None


def device_id(device: dict[str, Any]) -> str | None:
    """The id in a message's `context.device`, if it tells this device from others."""
    given = text(device.get("id"))
    return None if given is None or is_zero(given) else given  # App Clips all share the zero one


def read_device(message: Message) -> Device | None:
    """The device of a message; None where nothing in it identifies one."""
    if _last[0] is not message:  # one message is asked about several times in a row
        _last[:] = message, _read_device(message)
    return cast("Device | None", _last[1])


def _read_device(message: Message) -> Device | None:
    raw = section(message.context, "device")
    platform = read_platform(message.context)
    own_id = device_id(raw)
    advertising_id = text(raw.get("advertisingId")) or text(raw.get("advertising_id"))
    zeroed = advertising_id is not None and is_zero(advertising_id)
    tracking = _flag(raw, "adTrackingEnabled", "ad_tracking_enabled")

    ids: dict[str, str] = {}
    posing = (
        platform == "ios"
        and advertising_id is not None
        and own_id is not None
        and advertising_id.lower() == own_id.lower()
    )
    if platform and advertising_id and not (zeroed or posing or tracking is False):
        ids["idfa" if platform == "ios" else "adid"] = advertising_id
    if platform == "ios" and own_id:
        ids["idfv"] = own_id
    if platform == "android" and own_id and _ANDROID_ID.fullmatch(own_id):
        ids["android_id"] = own_id

    kochava_device_id = own_id or message.anonymous_id or ""
    if not kochava_device_id and not ids:
        return None
    return Device(
        platform=platform,
        kochava_device_id=kochava_device_id,
        ids=ids,
        limit_tracking=True
        if zeroed or tracking is False
        else (None if tracking is None else False),
        att=_att(raw, tracking, "idfa" in ids) if platform == "ios" else None,
    )


def _flag(raw: dict[str, Any], *keys: str) -> bool | None:
    for key in keys:
        value = raw.get(key)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
    return None


def _att(raw: dict[str, Any], tracking: bool | None, has_idfa: bool) -> dict[str, Any]:
    """App Tracking Transparency, which Kochava wants from every iOS device.

    Without it Kochava drops the IDFA. Older Segment SDKs know no status; there an IDFA that the
    system handed out while tracking is enabled is itself the user's consent, since iOS 14.5 gives
    zeros otherwise. Kochava infers the same (privacy profiles, "ATT value").
    """
    for key in ("attTrackingStatus", "att_tracking_status", "trackingStatus", "tracking_status"):
        value = raw.get(key)
        if value is None or isinstance(value, bool):
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        said = str(value).strip().lower()
        if not said:
            continue
        status = _ATT_STATUS.get(said)
        if status:
            return {"att": status == "authorized", "att_detail": status}
        return {"att": False}
    return {"att": tracking is True and has_idfa}
