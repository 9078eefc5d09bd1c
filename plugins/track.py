"""`track` calls: "Application Installed" becomes an install, everything else an event.

Rename events without writing code, with a table in config.toml:

    [plugins.settings."plugins/track.py"]
    event_names = { "Item Purchased" = "Purchase" }
"""

import re
from typing import Any

from proxy import (
    Campaign,
    ConfigError,
    Device,
    Filtered,
    KochavaRequest,
    Source,
    Track,
    amount,
    app_id_for,
    common_data,
    event_request,
    hookimpl,
    read_device,
    section,
    text,
)

# Segment's names (spec for ecommerce v2, mobile, B2B SaaS, video and ads) to Kochava's standard
# names (Kochava, Post-Install Event Examples). Case, and "_" for a space, make no difference.
STANDARD_NAMES = {
    "order completed": "Purchase",
    "completed order": "Purchase",
    "product added": "Add to Cart",
    "product added to wishlist": "Add to Wish List",
    "checkout started": "Checkout Start",
    "products searched": "Search",
    "product reviewed": "Rating",
    "product viewed": "View",
    "signed up": "Registration Complete",
    "tutorial completed": "Tutorial Complete",
    "level completed": "Level Complete",
    "achievement unlocked": "Achievement",
    "trial started": "Start Trial",
    "subscription started": "Subscribe",
    "push notification received": "Push Received",
    "push notification tapped": "Push Opened",
}

# Segment's iAd middleware, read backwards, to the keys of Apple's own answer.
IAD_KEYS = {
    "attribution": "iad-attribution",
    "ad_creative": "iad-org-name",
    "id": "iad-campaign-id",
    "name": "iad-campaign-name",
    "ad_group_id": "iad-adgroup-id",
    "ad_group": "iad-adgroup-name",
    "content": "iad-keyword",
    "lineitem_id": "iad-lineitem-id",
    "lineitem_name": "iad-lineitem-name",
    "click_date": "iad-click-date",
    "conversion_date": "iad-conversion-date",
}

CURRENCY_CODE = re.compile("[A-Za-z]{3}")  # ISO 4217

_renamed: dict[str, str] = {}


@hookimpl
def configure(settings: dict[str, Any]) -> None:
    names = settings.get("event_names", {})
    unknown = set(settings) - {"event_names"}
    if unknown:
        raise ConfigError(f"unknown setting {min(unknown)!r}; there is only event_names")
    if not isinstance(names, dict) or not all(isinstance(to, str) for to in names.values()):
        raise ConfigError('event_names must be a table such as { "Item Purchased" = "Purchase" }')
    _renamed.update(names)


@hookimpl
def map_track(message: Track, source: Source, campaign: Campaign | None) -> KochavaRequest:
    device = read_device(message)
    if device is None:
        raise Filtered("no_device_id")
    if message.event == "Application Installed":
        return _install(message, source, device, campaign)
    request = event_request(message, source, device, _name(message.event), message.properties)
    _add_money(request.data, message)
    _add_campaign(request.data, campaign)
    return request


def _install(
    message: Track, source: Source, device: Device, campaign: Campaign | None
) -> KochavaRequest:
    data = common_data(message, device)
    token = text(section(message.context, "device").get("adServicesToken"))
    if token:
        data["ad_services_token"] = token
    _add_campaign(data, campaign)
    return KochavaRequest(
        action="install",
        kochava_app_id=app_id_for(source, device),
        kochava_device_id=device.kochava_device_id,
        data=data,
    )


def _name(event: str) -> str:
    return _renamed.get(event) or STANDARD_NAMES.get(_spelled(event), event)


def _spelled(event: str) -> str:
    return " ".join(event.replace("_", " ").lower().split())


def _add_money(data: dict[str, Any], message: Track) -> None:
    """Kochava counts revenue by `sum`; `currency` belongs beside event_data."""
    properties, fields = message.properties, data["event_data"]
    total = amount(properties.get("revenue"))
    if total is None and _spelled(message.event) in ("order completed", "completed order"):
        total = amount(properties.get("total"))
    if total is None:
        total = fields.get("sum")
    if total is not None:
        fields["sum"] = total
    currency = text(properties.get("currency"))
    if currency is None:
        if total is not None:
            data["currency"] = "USD"
    elif CURRENCY_CODE.fullmatch(currency):  # anything else would be a guess
        data["currency"] = currency.upper()


def _add_campaign(data: dict[str, Any], campaign: Campaign | None) -> None:
    if campaign is None:
        return
    details = {"iad-attribution": "true"}  # Apple names a campaign only for its own installs
    for field, key in IAD_KEYS.items():
        value = getattr(campaign, field)
        if value is not None:
            details[key] = value
    data["iad_attribution_details"] = {"Version3.1": details}
