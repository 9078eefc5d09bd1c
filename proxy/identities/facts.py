"""What a message teaches: that a device is a person's. And which were taught lately."""

from __future__ import annotations

import msgspec

from proxy.device import Device, read_device
from proxy.segment import Alias, Identify, Message

#: Source, and "u:" with a user id or "a:" with an anonymous one.
Person = tuple[str, str]
#: Source, and an id of a device in lower case.
Id = tuple[str, str]


def persons_of(source: str, said: Message | Fact) -> list[Person]:
    """Who a message or a fact speaks of."""
    persons: list[Person] = []
    if said.user_id:
        persons.append((source, f"u:{said.user_id}"))
    if said.anonymous_id:
        persons.append((source, f"a:{said.anonymous_id}"))
    return persons


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
    found = [key_of(device).lower()]
    for id_ in device.ids.values():
        lower = id_.lower()
        if lower not in found:
            found.append(lower)
    return tuple(found)


class Fact(msgspec.Struct, frozen=True):
    """That a device is a person's. `device` says nothing of consent.

    `handed`: its user has it from somebody else, of the user id `previous` if that was a user.
    """

    source: str
    device: Device
    user_id: str | None
    anonymous_id: str | None
    handed: bool = False
    previous: str | None = None
    #: The device names no ids, and need not be without: what is known of them stays.
    silent: bool = False

    @property
    def key(self) -> str:
        return key_of(self.device)

    @property
    def ids(self) -> tuple[str, ...]:
        return ids_of(self.device)

    def persons(self) -> list[Person]:
        """Whose it is."""
        return persons_of(self.source, self)


def own_fact(source: str, message: Message) -> Fact | None:
    """That the device of a message is its user's."""
    device = read_device(message)
    if device is None or not (message.user_id or message.anonymous_id):
        return None
    silent = not (device.ids or device.limit_tracking)
    # A device that may not be tracked any more takes the place of what was known of it. Of one
    # without ids or a platform Kochava knows nothing that it could come back with: a browser.
    if silent and not device.platform:
        return None
    # Whose it is lasts; tracking consent is a matter of the moment and goes with each message.
    device = Device(device.platform, device.kochava_device_id, dict(device.ids))
    return Fact(source, device, message.user_id, message.anonymous_id, silent=silent)
