"""What comes in: Segment's messages as plugins see them, and what they need to know of a source.

Field names follow Segment's spec in snake_case; the meaning of each is Segment's
(https://segment.com/docs/connections/spec/common/). All are frozen: change one with
`msgspec.structs.replace`. `context`, `integrations`, `properties` and `traits` are plain dicts,
never None; treat them as read-only, several plugins see the same ones.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What all six calls have in common.

    `timestamp` is corrected for the client's clock; both times are aware and in UTC.
    `user_id` and `anonymous_id` are None where the client sent nothing, null or "".
    """

    type: ClassVar[str] = ""

    message_id: str
    user_id: str | None
    anonymous_id: str | None
    timestamp: datetime
    received_at: datetime
    context: dict[str, Any]
    integrations: dict[str, Any]


class Track(Message, frozen=True, kw_only=True):
    """Something a user did."""

    type: ClassVar[str] = "track"

    event: str
    properties: dict[str, Any]


class Identify(Message, frozen=True, kw_only=True):
    """Who a user is; `engage_identify` brings what Engage says in `track` calls into this form."""

    type: ClassVar[str] = "identify"

    traits: dict[str, Any]


class Screen(Message, frozen=True, kw_only=True):
    """A screen of an app was seen."""

    type: ClassVar[str] = "screen"

    name: str | None
    properties: dict[str, Any]


class Page(Message, frozen=True, kw_only=True):
    """A page of a site was seen."""

    type: ClassVar[str] = "page"

    name: str | None
    properties: dict[str, Any]


class Group(Message, frozen=True, kw_only=True):
    """A user belongs to a group."""

    type: ClassVar[str] = "group"

    group_id: str
    traits: dict[str, Any]


class Alias(Message, frozen=True, kw_only=True):
    """Two ids are one user: `previous_id` is now `user_id`."""

    type: ClassVar[str] = "alias"

    previous_id: str


class Delete(Message, frozen=True, kw_only=True):
    """A user is to be forgotten; Segment's Webhook destination passes deletion requests on. No
    mapping hook is asked: the proxy forgets the user's devices, and Kochava is told nothing.
    """

    type: ClassVar[str] = "delete"


class Postback(msgspec.Struct, frozen=True, kw_only=True):
    """A postback from Kochava.

    `fields` holds its parameters by the names of `proxy.postback.NAMES`, others by their own;
    macros that Kochava did not fill in and empty values are left out. `message_id` is the same
    for every repeat.
    """

    type: ClassVar[str] = "postback"

    message_id: str
    received_at: datetime
    fields: dict[str, str]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[sources]]` entry as plugins see it: no keys and no secrets."""

    name: str
    kochava_app_id: str | dict[str, str]
    traits: tuple[str, ...] = ()
    consent_categories: tuple[str, ...] = ()

    def app_id(self, platform: str | None) -> str | None:
        """The Kochava app GUID for "ios" or "android"; None where the config names none.

        A source with one app id for all answers it for every platform, known or not.
        """
        if isinstance(self.kochava_app_id, str):
            return self.kochava_app_id
        return self.kochava_app_id.get(platform or "")


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """An Apple Search Ads campaign as Segment's iAd middleware writes it to `context.campaign`.

    None stands for a value that Apple did not give (the middleware writes "unknown").
    Source: segmentio/analytics-ios-iads-attribution.
    """

    name: str | None = None
    id: str | None = None
    content: str | None = None
    ad_creative: str | None = None
    ad_group: str | None = None
    ad_group_id: str | None = None
    click_date: str | None = None
    conversion_date: str | None = None
    lineitem_id: str | None = None
    lineitem_name: str | None = None
    attribution: str | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The user that a device belongs to, as far as earlier messages told."""

    user_id: str | None = None
    anonymous_id: str | None = None
