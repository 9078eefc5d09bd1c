"""Where an event queues: behind the earlier events of its device, and with what urgency.

Decided at the door from the message alone, before any plugin has seen it, and kept with the event:
so that order and urgency are the same after a restart and in every worker.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from proxy.decode import UNREADABLE, Wire, merge, parse_time, read_wire
from proxy.device import device_id, section
from proxy.errors import Refused
from proxy.event import Event, Facts
from proxy.segment import Postback

_facts = msgspec.json.Decoder(Facts)
_object = msgspec.json.Decoder(dict[str, Any])
USUAL: Final = 100  # characters of an id, of which the longest that devices have is 36
_BITS: Final = 2**63 - 1  # what an SQLite integer holds, without the sign


class Place(msgspec.Struct, frozen=True):
    """`device` is a hash of the source and the id by which the event is ordered, `person` one of
    the user's id, if it has any; `of_person` says that both are the same, for want of a device.
    `computed` says that Engage made it; `happened_at` is the client's time in epoch seconds, None
    if it gave none.
    """

    device: int
    person: int | None
    of_person: bool
    computed: bool
    happened_at: float | None


def place(source: str, wire: Wire, context: dict[str, Any]) -> Place:
    """The place of a message; `context` is the one it ends up with.

    A device is known by what becomes Kochava's device id (docs/mapping.md, "Device ids"). What
    speaks of a user and names no device is ordered by the user's first one, which the spool knows,
    or else by the user.
    """
    computed = bool(section(context, "personas"))
    own_id = device_id(section(context, "device"))
    if own_id is None and not computed and wire.type != "identify":
        own_id = wire.anonymous_id
    happened = parse_time(wire.timestamp) or parse_time(wire.original_timestamp)
    person = device_hash(source, wire.user_id) if wire.user_id else None
    of_person = own_id is None and person is not None
    return Place(
        device_hash(source, own_id or wire.user_id or wire.anonymous_id or ""),
        person,
        of_person,
        computed,
        happened.timestamp() if happened else None,
    )


def place_event(event: Event) -> Place:
    """As `place`, for an event that is stored; one that nobody can read is ordered with such."""
    if event.type == Postback.type:
        return place_postback(event.source, event.message_id)
    try:
        wire = read_wire(event.raw, event.type, deletions=True)
        outer = _facts.decode(event.facts).context
        context = {} if isinstance(outer, msgspec.UnsetType) else _object.decode(outer)
    except (Refused, *UNREADABLE):
        return Place(0, None, of_person=False, computed=False, happened_at=None)
    return place(event.source, wire, merge(context, wire.context or {}))


def place_postback(source: str, message_id: str) -> Place:
    """An order of its own: a postback that waits for its user must not hold back the events of its
    device, by which that user becomes known.
    """
    own = device_hash(source, f"postback\0{message_id}")
    return Place(own, None, of_person=False, computed=False, happened_at=None)


def device_hash(source: str, id_: str) -> int:
    """The same number for the same device in every process, and an SQLite integer."""
    # Whoever sends decides how long an id is; what is remembered must not grow with it.
    return _remembered(source, id_) if len(id_) <= USUAL else _hash(source, id_)


def _hash(source: str, id_: str) -> int:
    digest = blake2b(f"{source}\0{id_}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest) & _BITS


_remembered = lru_cache(maxsize=256)(_hash)  # most of a batch speak of one device, or of few
