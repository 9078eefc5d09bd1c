"""THE plugin contract: every hook there is.

A plugin is a Python file whose functions carry the names below and the mark `@hookimpl`. A
function may take any subset of its hook's parameters, by name, in any order. Hooks are plain
functions: no `async def`, no I/O; the same message must always give the same answer.

Where a hook answers one value, plugins are asked one after the other, the last loaded first, and
the first answer that is not None counts; None means "not mine". A function marked
`@hookimpl(wrapper=True)` stands around all others: it yields once, gets the answer, and returns
the answer to use instead.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from proxy.config import Config
    from proxy.kochava import IdentityLink, KochavaRequest, Request, SegmentTrack
    from proxy.segment import (
        Alias,
        Campaign,
        Group,
        Identify,
        Identity,
        Message,
        Page,
        Postback,
        Screen,
        Source,
        Track,
    )
    from proxy.states import Outcome, Settlement

    Answer = KochavaRequest | IdentityLink | list[KochavaRequest | IdentityLink] | None

NAMESPACE: Final = "kochava_proxy"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)

#: Hooks that only look on: all of them are called, each guarded from the others' faults.
OBSERVERS: Final = frozenset({"delivery_attempted", "event_settled"})


class Hooks:
    """The hooks, in the order in which an event meets them."""

    @hookspec
    def configure(self, config: Config, settings: dict[str, Any]) -> None:
        """Called once at start, before any message.

        `settings` is this plugin's own table `[plugins.settings."NAME"]`, empty if there is none.
        Raise `ConfigError("what is wrong")` to refuse to start.
        """

    @hookspec(firstresult=True)
    def drop_reason(self, message: Message, source: Source) -> str | None:
        """Whether to drop a message before anything is made of it.

        Answer a short snake_case reason to drop it: it counts as filtered for that reason. A
        message dropped here teaches the proxy nothing about its user's devices either.
        """

    @hookspec(firstresult=True)
    def campaign_context(self, message: Message, source: Source) -> Campaign | None:
        """The Apple Search Ads campaign that a message carries, for `map_track`."""

    @hookspec(firstresult=True)
    def map_track(self, message: Track, source: Source, campaign: Campaign | None) -> Answer:
        """What a `track` call becomes at Kochava: one request, or a list sent in its order.

        This holds for all mapping hooks: raise `Filtered("reason")` to send nothing on purpose;
        a message that no plugin answers is filtered as "unmapped".
        """

    @hookspec(firstresult=True)
    def map_identify(self, message: Identify, source: Source, campaign: Campaign | None) -> Answer:
        """What an `identify` call becomes.

        An `IdentityLink` without `device_id` becomes one link for each device known of the user.
        """

    @hookspec(firstresult=True)
    def map_screen(self, message: Screen, source: Source, campaign: Campaign | None) -> Answer:
        """What a `screen` call becomes."""

    @hookspec(firstresult=True)
    def map_page(self, message: Page, source: Source, campaign: Campaign | None) -> Answer:
        """What a `page` call becomes."""

    @hookspec(firstresult=True)
    def map_group(self, message: Group, source: Source, campaign: Campaign | None) -> Answer:
        """What a `group` call becomes; no built-in plugin answers this one."""

    @hookspec(firstresult=True)
    def map_alias(self, message: Alias, source: Source, campaign: Campaign | None) -> Answer:
        """What an `alias` call becomes; the proxy has joined the two ids already."""

    @hookspec(firstresult=True)
    def map_postback(
        self, postback: Postback, source: Source, identity: Identity | None
    ) -> SegmentTrack | None:
        """What a postback from Kochava becomes at Segment: one `track` call.

        `identity` is the user of the device, None where earlier messages told of none and
        `[postbacks]` says to wait no longer. Raise `Filtered("reason")` to leave the postback
        out; one that no plugin answers, such as an event's, is filtered as "unmapped".
        """

    @hookspec
    def delivery_attempted(
        self, message: Message | Postback, request: Request, outcome: Outcome, attempt: int
    ) -> None:
        """One request was tried; `attempt` counts from 1. Observers cannot change anything."""

    @hookspec
    def event_settled(self, message: Message | Postback, settlement: Settlement) -> None:
        """An event has come to its end, and the disk knows it."""


def parameters(hook: str) -> tuple[str, ...]:
    """The names of what a hook is given, in their order."""
    return tuple(inspect.signature(getattr(Hooks, hook)).parameters)[1:]
