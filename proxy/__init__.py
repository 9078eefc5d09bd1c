"""kochava-proxy: Segment in, Kochava out, nothing lost.

This is what plugin authors import; docs/writing-plugins.md shows how. The way an event goes
through the other modules starts in `proxy/app.py`.
"""

from proxy.decode import parse_time
from proxy.device import Device, read_device, section, text
from proxy.errors import ConfigError, Filtered
from proxy.kochava import IdentityLink, KochavaRequest, SegmentTrack
from proxy.mapping.hookspecs import hookimpl
from proxy.postback import ids_of, is_install
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
from proxy.translate import (
    amount,
    app_id_for,
    common_data,
    engage_identify,
    event_data,
    event_request,
    flatten,
    snake_case,
    spelled,
)

__all__ = [
    "Alias",
    "Campaign",
    "ConfigError",
    "Device",
    "Filtered",
    "Group",
    "Identify",
    "Identity",
    "IdentityLink",
    "KochavaRequest",
    "Message",
    "Outcome",
    "Page",
    "Postback",
    "Screen",
    "SegmentTrack",
    "Settlement",
    "Source",
    "Track",
    "amount",
    "app_id_for",
    "common_data",
    "engage_identify",
    "event_data",
    "event_request",
    "flatten",
    "hookimpl",
    "ids_of",
    "is_install",
    "parse_time",
    "read_device",
    "section",
    "snake_case",
    "spelled",
    "text",
]
