"""What a message teaches: that a device is a person's. And which were taught lately."""

from __future__ import annotations

import msgspec

from proxy.device import Device, read_device
from proxy.segment import Alias, Identify, Message

#: Source, and "u:" with a user id or "a:" with an anonymous one.
Person = tuple[str, str]
#: Source, and an id of a device in lower case.
Id = tuple[str, str]


def persons_of(source: str, message: Message) -> list[Person]:
    """Who a message speaks of."""
    ids = (("u", message.user_id), ("a", message.anonymous_id))
    return [(source, f"{kind}:{id_}") for kind, id_ in ids if id_]


def before(source: str, message: Message) -> list[Person]:
    """Who the user of this message was until now."""
    if isinstance(message, Alias):
        return [(source, f"u:{message.previous_id}"), (source, f"a:{message.previous_id}")]
    if isinstance(message, Identify) and message.anonymous_id:
        return [(source, f"a:{message.anonymous_id}")]
    return []


def key_of(device: Device) -> str:
    """What a device is told from the others of a person by."""
    return device.kochava_device_id or next(iter(device.ids.values()))


def ids_of(device: Device) -> tuple[str, ...]:
    """All that a device is known by, in lower case: Kochava and Segment need not agree on that."""
    ids = (key_of(device), *device.ids.values())
    return tuple(dict.fromkeys(id_.lower() for id_ in ids))


class Fact(msgspec.Struct, frozen=True):
    """That a device is a person's. `device` says nothing of consent.

    `handed`: its user has it from somebody else, of the user id `previous` if that was a user.
    """

    source: str
    device: Device
    user_id: str | None
    anonymous_id: str | None
    ids: tuple[str, ...]
    handed: bool = False
    previous: str | None = None
    #: The device names no ids, and need not be without: what is known of them stays.
    silent: bool = False

    @property
    def key(self) -> str:
        return key_of(self.device)

    def persons(self) -> list[Person]:
        """Whose it is."""
        ids = (("u", self.user_id), ("a", self.anonymous_id))
        return [(self.source, f"{kind}:{id_}") for kind, id_ in ids if id_]


def own_fact(source: str, message: Message) -> Fact | None:
    """That the device of a message is its user's."""
    device = read_device(message)
    # A device that may not be tracked any more takes the place of what was known of it. Of one
    # without ids or a platform Kochava knows nothing that it could come back with: a browser.
    if device is None or not (device.ids or device.limit_tracking or device.platform):
        return None
    if not (message.user_id or message.anonymous_id):
        return None
    silent = not (device.ids or device.limit_tracking)
    # Whose it is lasts; tracking consent is a matter of the moment and goes with each message.
    device = Device(device.platform, device.kochava_device_id, dict(device.ids))
    ids = ids_of(device)
    return Fact(source, device, message.user_id, message.anonymous_id, ids, silent=silent)
