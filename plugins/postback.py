"""Kochava's postbacks: an install becomes Segment's "Install Attributed".

Rows of docs/mapping.md, "Postbacks"; docs/postbacks.md says how to set one up. Settings:

    [plugins.settings."plugins/postback.py"]
    organic = false            # installs that no network brought are filtered
    context_campaign = true    # the campaign stands in `context` too, for tools that read it there
"""

from typing import Any

from proxy import (
    ConfigError,
    Filtered,
    Identity,
    Postback,
    SegmentTrack,
    hookimpl,
    ids_of,
    is_install,
    parse_time,
)

# Segment's keys (Spec: Mobile, "Install Attributed"; the last seven are those of other networks'
# attributions in Segment's documents) by our names of Kochava's parameters.
CAMPAIGN = {
    "network": "source",
    "campaign": "name",
    "medium": "medium",
    "content": "content",
    "creative": "ad_creative",
    "ad_group": "ad_group",
    "campaign_id": "id",
    "ad_group_id": "ad_group_id",
    "click_date": "click_date",
    "conversion_date": "conversion_date",
    "lineitem_id": "lineitem_id",
    "lineitem_name": "lineitem_name",
    "attribution": "attribution",
}
IN_CONTEXT = ("name", "source", "medium", "content")

# What has a place of its own, or says who it was: no properties.
NO_PROPERTIES = {
    *CAMPAIGN, "event_name", "event_time", "kochava_device_id", "idfa", "idfv", "adid",
    "android_id", "platform", "ip", "user_agent", "provider",
}  # fmt: skip

NOT_ATTRIBUTED = {"false", "0", "no"}

_settings = {"organic": True, "context_campaign": False}


@hookimpl
def configure(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if name not in _settings:
            raise ConfigError(f"unknown setting {name!r}; there are organic and context_campaign")
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false")
    _settings.update(settings)


@hookimpl
def map_postback(postback: Postback, identity: Identity | None) -> SegmentTrack | None:
    fields = postback.fields
    if not is_install(fields):
        return None
    organic = _is_organic(fields)
    if organic and not _settings["organic"]:
        raise Filtered("organic")
    user_id, anonymous_id = _who(fields, identity)
    campaign = {key: fields[name] for name, key in CAMPAIGN.items() if name in fields}
    if organic:
        campaign.setdefault("source", "Organic")
    others = {name: value for name, value in fields.items() if name not in NO_PROPERTIES}
    return SegmentTrack(
        event="Install Attributed",
        message_id=postback.message_id,
        user_id=user_id,
        anonymous_id=anonymous_id,
        timestamp=_timestamp(postback),
        properties={**others, "provider": "Kochava", "campaign": campaign},
        context=_context(fields, campaign),
    )


def _is_organic(fields: dict[str, str]) -> bool:
    """Kochava's SDK says `attribution: false` of such an install, and names no network then."""
    attribution = fields.get("attribution", "").lower()
    if attribution in NOT_ATTRIBUTED or fields.get("network", "").lower() == "organic":
        return True
    return not attribution and not fields.keys() & {"network", "campaign", "campaign_id"}


def _who(fields: dict[str, str], identity: Identity | None) -> tuple[str | None, str | None]:
    """The user id and anonymous id; of a device that nobody knows, its own id as the latter."""
    if identity and (identity.user_id or identity.anonymous_id):
        return identity.user_id, identity.anonymous_id
    ids = ids_of(fields)
    if not ids:
        raise Filtered("no_device_id")
    return None, ids[0]


def _timestamp(postback: Postback) -> str:
    moment = parse_time(postback.fields.get("event_time")) or postback.received_at
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _context(fields: dict[str, str], campaign: dict[str, str]) -> dict[str, Any]:
    ids = ids_of(fields)
    real = {name: value for name, value in fields.items() if value in ids}
    device = {
        "id": real.get("kochava_device_id"),
        "advertisingId": real.get("idfa") or real.get("adid"),
        "type": _platform(fields),
    }
    context: dict[str, Any] = {
        "device": {key: value for key, value in device.items() if value},
        "ip": fields.get("ip"),
        "userAgent": fields.get("user_agent"),
    }
    if _settings["context_campaign"]:
        context["campaign"] = {key: campaign[key] for key in IN_CONTEXT if key in campaign}
    return {key: value for key, value in context.items() if value}


def _platform(fields: dict[str, str]) -> str | None:
    """As given, else by the ids that only one of the two has."""
    given = fields.get("platform")
    if given:
        return given.lower()
    if fields.keys() & {"idfa", "idfv"}:
        return "ios"
    return "android" if fields.keys() & {"adid", "android_id"} else None
