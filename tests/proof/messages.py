"""Messages of many kinds, what Kochava must get for each, and what it got."""

from __future__ import annotations

import random
import uuid
from typing import Any, Literal

import msgspec

from tests.proof.oracle import Acknowledged, Fate

Platform = Literal["ios", "android"]

#: The names of sources and their apps, as they stand in the config: one has an app per platform.
SOURCES: list[dict[str, Any]] = [
    {
        "name": "acme",
        "write_key": "wk_acme",
        "kochava_app_id": {"ios": "koacme-ios", "android": "koacme-android"},
        "traits": ["proof_id"],
    },
    {
        "name": "beta",
        "write_key": "wk_beta",
        "kochava_app_id": "kobeta",
        "traits": ["proof_id"],
    },
]
APPS = ("koacme-ios", "koacme-android", "kobeta")

#: A mapping that fails for some messages, as a user's plugin might.
POISON = """
from proxy import hookimpl

@hookimpl
def drop_reason(message, source):
    if message.type == "track" and message.event == "Poison":
        raise ValueError(message.event)
"""

AUDIENCE = "big_spenders"
TEXTS = (
    "plain",
    "naïve café",
    "日本語",
    "🦊🎉",
    "\u202eright to left",
    'quote " \\ \n tab\t',
    "\x7f",
)
NUMBERS = (0, -1, 2**53, 0.1, 1e-7, 1.7976931348623157e308, 3.141592653589793, -0.5)


class Device(msgspec.Struct):
    """A device that sends; how many messages it made, and whether it is in the audience."""

    source: str
    platform: Platform
    id: str
    made: int = 0
    belongs: bool = False

    @property
    def app(self) -> str:
        return f"koacme-{self.platform}" if self.source == "acme" else "kobeta"

    @property
    def write_key(self) -> str:
        return f"wk_{self.source}"


def make_device(chance: random.Random) -> Device:
    source = chance.choice(("acme", "beta"))
    if chance.random() < 0.5:
        own = str(uuid.UUID(int=chance.getrandbits(128), version=4)).upper()
        return Device(source, "ios", own)
    return Device(source, "android", f"{chance.getrandbits(64):016x}")


def make_message(
    chance: random.Random, device: Device, fate: Fate
) -> tuple[dict[str, Any], Acknowledged]:
    """The next message of a device as its SDK sends it, and what must become of it: installs
    first, then events, and audience calls that alternate.
    """
    number, device.made = device.made, device.made + 1
    id_ = f"{fate}-{device.id[-12:]}-{number}"
    message: dict[str, Any] = {
        "messageId": id_,
        "anonymousId": device.id.lower(),
        "context": {
            "app": {"version": id_},
            "device": {"id": device.id, "type": device.platform},
        },
        "integrations": {"All": fate != "filtered"},
    }
    content: dict[str, Any]
    if number == 0 and fate == "delivered":
        message |= {"type": "track", "event": "Application Installed", "properties": {}}
        content = _track(device, "install")
    elif fate == "delivered" and chance.random() < 0.15:
        device.belongs = not device.belongs
        value, user = device.belongs, f"user-{device.id[:8]}"
        message |= {
            "type": "identify",
            "userId": user,
            "traits": {AUDIENCE: value, "proof_id": id_, "email": "not@sent.example"},
        }
        message["context"]["personas"] = {"computation_key": AUDIENCE}
        content = {
            "kochava_app_id": device.app,
            "device_id": {"idfv" if device.platform == "ios" else "android_id": device.id},
            "data": {
                AUDIENCE: "true" if value else "false",
                "proof_id": id_,
                "app_userid": user,
            },
        }
    else:
        properties = {
            "said": chance.choice(TEXTS),
            "number": chance.choice(NUMBERS),
            "share": chance.random(),
            "flag": chance.random() < 0.5,
        }
        event = "Poison" if fate == "poisonous" else "Tested"
        message |= {"type": "track", "event": event, "properties": properties}
        content = {
            **_track(device, "event"),
            "event_name": event,
            "event_data": properties,
        }
    return message, Acknowledged(id_, fate, (device.source, device.id), content)


def _track(device: Device, action: str) -> dict[str, Any]:
    return {
        "action": action,
        "kochava_app_id": device.app,
        "kochava_device_id": device.id,
    }


def read_content(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The message id of a request that Kochava got, and what `Acknowledged.content` is to equal."""
    data = body["data"]
    if "device_id" in body:
        return data["proof_id"], {key: body[key] for key in ("kochava_app_id", "device_id", "data")}
    content = {key: body[key] for key in ("action", "kochava_app_id", "kochava_device_id")}
    content |= {key: data[key] for key in ("event_name", "event_data") if key in data}
    return data["app_version"], content
