"""From one message to a decision: asks the plugins, in order, and turns every answer and every
fault of theirs into a value. Synchronous and without I/O: the same message, plugins and known
devices always give the same decision.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final

import msgspec

from proxy.decode import TYPES
from proxy.device import Device
from proxy.errors import Filtered
from proxy.kochava import IdentityLink, KochavaRequest, SegmentTrack
from proxy.mapping.plugins import Plugins
from proxy.segment import Campaign, Identity, Message, Postback, Source
from proxy.states import Fail, Filter

#: Answers, for a source's name, which devices of this message's user are known.
DevicesOf = Callable[[str, Message], Sequence[Device]]

#: A plugin's fault stays with the one message, even if it is a call of sys.exit.
PLUGIN_FAULTS: Final = (Exception, SystemExit)
MAX_DETAIL: Final = 4_000  # characters of a traceback that a dead letter keeps

_REQUESTS: Final = (KochavaRequest, IdentityLink)

#: Of a link that names no device, for a user of whom none is known (yet).
NO_DEVICE: Final = Filter("no_device_id")
#: Of what no plugin answers.
UNMAPPED: Final = Filter("unmapped")


class Requests(msgspec.Struct, frozen=True):
    """What the plugins want sent."""

    requests: tuple[KochavaRequest | IdentityLink, ...]


class Dispatcher:
    """Takes a message through `drop_reason`, `campaign_context` and its mapping hook."""

    def __init__(self, plugins: Plugins, devices_of: DevicesOf) -> None:
        self._plugins = plugins
        self._devices_of = devices_of
        self._drop_reason = plugins.asking("drop_reason")
        self._campaign_context = plugins.asking("campaign_context")
        self._map = {type_: plugins.asking(f"map_{type_}") for type_ in TYPES}
        self._map_postback = plugins.asking("map_postback")

    def drop_reason(self, message: Message, source: Source) -> Filter | Fail | None:
        """Why this message goes no further, if it does not."""
        try:
            reason = self._drop_reason(message, source)
        except Filtered as filtered:
            return Filter(filtered.reason)
        except PLUGIN_FAULTS as error:
            return self._fail(error)
        if reason is None:
            return None
        if not isinstance(reason, str) or not reason:
            wanted = "a reason or None"
            return self._wrong_answer("drop_reason", reason, wanted, message, source)
        return Filter(reason)

    def map(self, message: Message, source: Source) -> Requests | Filter | Fail:
        """What to send for a message that was not dropped."""
        try:
            campaign = self._campaign_context(message, source)
            if not (campaign is None or isinstance(campaign, Campaign)):
                wanted = "a Campaign or None"
                return self._wrong_answer("campaign_context", campaign, wanted, message, source)
            answer = self._map[message.type](message, source, campaign)
        except Filtered as filtered:
            return Filter(filtered.reason)
        except PLUGIN_FAULTS as error:
            return self._fail(error)
        if isinstance(answer, KochavaRequest):  # as nearly all are
            return Requests((answer,))
        if answer is None:
            return UNMAPPED
        requests = answer if isinstance(answer, (list, tuple)) else (answer,)
        if not all(isinstance(request, _REQUESTS) for request in requests):
            wanted = "a KochavaRequest, an IdentityLink, a list of these, or None"
            hook = f"map_{message.type}"
            return self._wrong_answer(hook, answer, wanted, message, source, campaign)
        if not requests:
            return Filter("mapped_to_nothing")
        return self._join(message, source, requests)

    def map_postback(
        self, postback: Postback, source: Source, identity: Identity | None
    ) -> SegmentTrack | Filter | Fail:
        """What to send to Segment for a postback."""
        try:
            answer = self._map_postback(postback, source, identity)
        except Filtered as filtered:
            return Filter(filtered.reason)
        except PLUGIN_FAULTS as error:
            return self._fail(error)
        if answer is None:
            return UNMAPPED
        if not isinstance(answer, SegmentTrack):
            wanted, given = "a SegmentTrack or None", (postback, source, identity)
            return self._wrong_answer("map_postback", answer, wanted, *given)
        return answer

    def _join(
        self, message: Message, source: Source, requests: Sequence[KochavaRequest | IdentityLink]
    ) -> Requests | Filter:
        """Every link without a device as one link for each device known of the user."""
        joined: list[KochavaRequest | IdentityLink] = []
        for request in requests:
            if isinstance(request, KochavaRequest) or request.device_id:
                joined.append(request)
                continue
            for device in self._devices_of(source.name, message):
                app_id = request.kochava_app_id or source.app_id(device.platform)
                if device.ids and app_id:
                    link = IdentityLink(
                        kochava_app_id=app_id, device_id=device.ids, data=request.data
                    )
                    joined.append(link)
        return Requests(tuple(joined)) if joined else NO_DEVICE

    def _fail(self, error: BaseException) -> Fail:
        name = self._guilty(error.__traceback__)
        lines = traceback.format_exception(error)
        return Fail(f"plugin_error:{name}", "".join(lines)[-MAX_DETAIL:])

    def _guilty(self, trace: TracebackType | None) -> str:
        """The plugin whose file stands deepest in the traceback."""
        files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
        for file in reversed(files):
            for plugin in self._plugins.loaded:
                if plugin.file == file:
                    return plugin.name
        return "unknown"

    def _wrong_answer(self, hook: str, answer: object, wanted: str, *given: object) -> Fail:
        name = self._who_answered(hook, *given)
        what = f"{hook} of plugin {name} answered {type(answer).__name__}, not {wanted}"
        return Fail(f"plugin_error:{name}", what)

    def _who_answered(self, hook: str, *given: object) -> str:
        """Asks again, listening. Hooks are pure, so that the same plugin gives the same answer;
        one that is not, and now raises, must do no harm.
        """
        said: list[tuple[str, str, object]] = []
        with suppress(Exception), self._plugins.listening(lambda *heard: said.append(heard)):
            self._plugins.asking(hook)(*given)
        answers = [name for asked, name, answer in said if asked == hook and answer is not None]
        return answers[-1] if answers else "unknown"
