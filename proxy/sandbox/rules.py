"""What Kochava wants of a request, as far as its pages say: the sandbox's strictness.

Written against Kochava's documents and not against this proxy's mappings, so that a mistake there
shows here. Each rule's source is in docs/mapping.md.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Final

MAX_BODY: Final = 2 * 1024 * 1024
ACTIONS: Final = ("install", "event", "update")
DEVICE_ID_KEYS: Final = (
    "idfa", "idfv", "adid", "android_id", "fire_adid", "rida", "imei", "mac", "udid", "odin",
    "openudid", "custom",
)  # fmt: skip
RESERVED: Final = (
    "network", "source", "fb_campaign", "campaign", "site", "creative", "attribution_type",
    "integration_type", "integration_version", "cracked", "jailbroken",
)  # fmt: skip
#: What a call to Segment must have besides a message id, and one of its user or visitor.
NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "track": ("event",),
    "identify": (),
    "page": (),
    "screen": (),
    "group": ("groupId",),
    "alias": ("userId", "previousId"),
}

_SECONDS = re.compile(r"[0-9]{1,12}")  # 13 digits are milliseconds


def track_problems(body: Any, headers: Mapping[str, str]) -> list[str]:
    """What is wrong with a body for /track/json."""
    if not isinstance(body, dict):
        return ["the body is not a JSON object"]
    problems = _unknown(body, ("action", "kochava_app_id", "kochava_device_id", "app_ver", "data"))
    if body.get("action") not in ACTIONS:
        problems.append(f"action must be one of {', '.join(ACTIONS)}")
    if not _filled(body.get("kochava_app_id")):
        problems.append("kochava_app_id is missing")
    if not isinstance(body.get("kochava_device_id"), str):
        problems.append("kochava_device_id must be there, if only as an empty string")
    data = body.get("data")
    if not isinstance(data, dict):
        return [*problems, "data must be an object"]
    if body.get("action") == "update":
        problems += [] if _filled(data.get("idfa")) else ["data.idfa is missing"]
        return problems
    problems += _device_problems(body, data, headers)
    problems += _event_problems(data) if body.get("action") == "event" else []
    return problems


def _device_problems(
    body: dict[str, Any], data: dict[str, Any], headers: Mapping[str, str]
) -> list[str]:
    ids = data.get("device_ids")
    if not isinstance(ids, dict) or not all(isinstance(value, str) for value in ids.values()):
        return ["data.device_ids must be an object of strings"]
    problems = _unknown(ids, DEVICE_ID_KEYS, "data.device_ids.")
    if not any(ids.values()) and not body.get("kochava_device_id"):
        problems.append("neither a device id nor a kochava_device_id")
    problems += [
        f"data.device_ids.{key} is the zero id"
        for key, value in ids.items()
        if value and not value.strip("0-")
    ]
    if not isinstance(data.get("device_ua"), str) or not isinstance(data.get("device_ver"), str):
        problems.append("data.device_ua and data.device_ver must be strings")
    elif not data["device_ua"] and headers.get("User-Agent") != "Unknown":
        problems.append("without device_ua the header User-Agent: Unknown must be sent")
    usertime = data.get("usertime")
    if usertime is not None and not _SECONDS.fullmatch(str(usertime)):
        problems.append("data.usertime must be epoch seconds")
    if data.get("origination_ip") == "0.0.0.0":  # noqa: S104  a value to refuse
        problems.append("data.origination_ip is an opt-out and must not be sent")
    if ids.get("idfa") or ids.get("idfv"):
        att = data.get("app_tracking_transparency")
        if not isinstance(att, dict) or not isinstance(att.get("att"), bool):
            problems.append("data.app_tracking_transparency.att is missing: the IDFA is dropped")
    return problems


def _event_problems(data: dict[str, Any]) -> list[str]:
    problems = []
    if not _filled(data.get("event_name")):
        problems.append("data.event_name is missing")
    fields = data.get("event_data", {})
    if not isinstance(fields, dict):
        return [*problems, "data.event_data must be an object"]
    for key, value in fields.items():
        if isinstance(value, dict | list):
            problems.append(f"data.event_data.{key} is not flat")
        if key in RESERVED:
            problems.append(f"data.event_data.{key} is a reserved key")
    amount = fields.get("sum", 0)
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        problems.append("data.event_data.sum must be a number")
    currency = data.get("currency", "USD")
    if not isinstance(currency, str) or len(currency) != 3 or currency != currency.upper():
        problems.append("data.currency must be an ISO 4217 code")
    return problems


def link_problems(body: Any) -> list[str]:
    """What is wrong with a body for identityLink.php."""
    if not isinstance(body, dict):
        return ["the body is not a JSON object"]
    problems = _unknown(body, ("kochava_app_id", "device_id", "device_hash_method", "data"))
    if not _filled(body.get("kochava_app_id")):
        problems.append("kochava_app_id is missing")
    ids = body.get("device_id")
    if not isinstance(ids, dict) or not ids or not all(map(_filled, ids.values())):
        problems.append("device_id must be an object with at least one id")
    data = body.get("data")
    if not isinstance(data, dict) or not data:
        problems.append("data must be an object with at least one pair")
    elif any(isinstance(value, dict | list | bool) for value in data.values()):
        problems.append("data must hold names and plain values")
    return problems


def call_problems(call: str, body: Any, headers: Mapping[str, str]) -> list[str]:
    """What is wrong with a call to Segment (HTTP Tracking API), or with those of a batch."""
    problems = [] if headers.get("Authorization", "").startswith("Basic ") else ["no write key"]
    if call not in ("batch", "import"):
        return problems + _message_problems(call, body)
    messages = body.get("batch") if isinstance(body, dict) else None
    if not isinstance(messages, list) or not messages:
        return [*problems, "batch must be a list of calls"]
    for each in messages:
        type_ = each.get("type") if isinstance(each, dict) else None
        problems += _message_problems(str(type_), each)
    return problems


def _message_problems(type_: str, message: Any) -> list[str]:
    """By what Segment's spec of each call asks for."""
    if type_ not in NEEDED:
        return [f"there is no call {type_!r}"]
    if not isinstance(message, dict):
        return ["the call is not a JSON object"]
    needed = ("messageId", *NEEDED[type_])
    problems = [f"{key} is missing" for key in needed if not _filled(message.get(key))]
    if not _filled(message.get("userId")) and not _filled(message.get("anonymousId")):
        problems.append("userId or anonymousId is missing")
    return problems


def signature_problems(
    raw: bytes, headers: Mapping[str, str], credentials: tuple[str, str] | None
) -> list[str]:
    """What is wrong with the signature, where `credentials` (API key, secret) ask for one."""
    if credentials is None:
        return []
    key, secret = credentials
    digest = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
    token = hmac.new(key.encode(), (secret + digest).encode(), hashlib.sha256).hexdigest()
    given = headers.get("Kochava-Auth-Token", "").encode(errors="replace")
    if headers.get("Kochava-Api-Key") == key and hmac.compare_digest(given, token.encode()):
        return []
    return ["the signature does not match the body"]


def _unknown(given: dict[str, Any], known: tuple[str, ...], prefix: str = "") -> list[str]:
    return [f"{prefix}{key} is not a field of Kochava's" for key in given if key not in known]


def _filled(value: object) -> bool:
    return isinstance(value, str) and bool(value)
