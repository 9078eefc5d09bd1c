"""`identify` calls: an identity link with the user id, audiences and the traits allowed.

Only what is asked for leaves: the key of an Engage audience or computed trait, and the traits
that the source's `traits` lists. Engage's calls carry no device ids; the proxy then makes one
link for each device it knows of the user.

Engage says the same in `track` calls too: "Audience Entered", "Audience Exited", "Trait Computed".
They become the same link.
"""

import json
from typing import Any

from proxy import (
    Filtered,
    Identify,
    IdentityLink,
    Source,
    Track,
    app_id_for,
    engage_identify,
    hookimpl,
    read_device,
    section,
    snake_case,
    text,
)


@hookimpl
def map_identify(message: Identify, source: Source) -> IdentityLink:
    data = _data(message, source)
    if not data:
        raise Filtered("nothing_to_link")
    device = read_device(message)
    if device is None or not device.ids:
        return IdentityLink(data=data)
    return IdentityLink(kochava_app_id=app_id_for(source, device), device_id=device.ids, data=data)


@hookimpl
def map_track(message: Track, source: Source) -> IdentityLink | None:
    """Engage's calls alone, which plugins/track.py leaves to this plugin."""
    computed = engage_identify(message)
    return None if computed is None else map_identify(computed, source)


def _data(message: Identify, source: Source) -> dict[str, Any]:
    audience = text(section(message.context, "personas").get("computation_key"))
    allowed = {*source.traits, audience}
    data: dict[str, Any] = {}
    for trait, value in message.traits.items():
        if value is not None and (trait in allowed or snake_case(trait) in allowed):
            data[snake_case(trait)] = _plain(value)
    if message.user_id:
        data["app_userid"] = message.user_id
    return data


def _plain(value: Any) -> Any:
    """Kochava takes names and values: a boolean as a word, a list or an object as JSON text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value
