"""What goes out: requests to Kochava's server-to-server API, and calls back to Segment.

Shapes: Kochava's install, event and identity link guides
(support.kochava.com, server-to-server integration). docs/mapping.md says which are certain.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class KochavaRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An install or event for `POST /track/json`; the fields stand in the body as they are here."""

    action: Literal["install", "event", "update"]
    kochava_app_id: str
    kochava_device_id: str
    data: dict[str, Any]


class IdentityLink(msgspec.Struct, frozen=True, kw_only=True):
    """An identity link: `data` says who the device with these ids is.

    With no `device_id` the proxy sends one link for each device it knows of that user,
    with that device's ids and app id.
    """

    kochava_app_id: str = ""
    device_id: dict[str, str] = {}
    data: dict[str, Any]


class SegmentTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A `track` call to Segment, made from a postback."""

    event: str
    message_id: str
    user_id: str | None = None
    anonymous_id: str | None = None
    timestamp: str | None = None
    properties: dict[str, Any]
    context: dict[str, Any] = {}


Request = KochavaRequest | IdentityLink | SegmentTrack
