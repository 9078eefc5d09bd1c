"""`track` calls: "Application Installed" becomes an install, everything else an event, but for
what Engage computed, which plugins/identify.py maps.

Rename events without writing code, and say where your app puts Apple's AdServices token (one place
or a list, the first that holds text counts), with a table in config.toml:

    [plugins.settings."plugins/track.py"]
    event_names = { "Item Purchased" = "Purchase" }
    ad_services_token = "context.device.adServicesToken"
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
    engage_identify,
    event_request,
    hookimpl,
    read_device,
    section,
    spelled,
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

#: A place in a message: the field, then at least one key.
PLACE = re.compile(r"(context|integrations|properties)(\.[^.]+)+")

_renamed: dict[str, str] = {}
#: No SDK of Segment collects the token: apps put it here, or where the settings say.
_token_places = ["context.device.adServicesToken", "integrations.Kochava.ad_services_token"]


@hookimpl
def configure(settings: dict[str, Any]) -> None:
    names = settings.get("event_names", {})
    unknown = set(settings) - {"event_names", "ad_services_token"}
    if unknown:
        known = "event_names and ad_services_token"
        raise ConfigError(f"unknown setting {min(unknown)!r}; there are {known}")
    if not isinstance(names, dict) or not all(isinstance(to, str) for to in names.values()):
        raise ConfigError('event_names must be a table such as { "Item Purchased" = "Purchase" }')
    _renamed.update(names)
    places = settings.get("ad_services_token", _token_places)
    places = [places] if isinstance(places, str) else places
    if not isinstance(places, list) or not all(_is_place(place) for place in places):
        raise ConfigError(
            "ad_services_token must be a place such as"
            ' "context.device.adServicesToken", or a list of them; a place begins with "context.",'
            ' "integrations." or "properties."'
        )
    _token_places[:] = places


def _is_place(place: object) -> bool:
    return isinstance(place, str) and PLACE.fullmatch(place) is not None


@hookimpl
def map_track(message: Track, source: Source, campaign: Campaign | None) -> KochavaRequest | None:
    if engage_identify(message) is not None:
        return None
    device = read_device(message)
    if device is None:
        raise Filtered("no_device_id")
    if message.event == "Application Installed":
        return _install(message, source, device, campaign)
    request = event_request(message, source, device, _name(message.event), message.properties)
    _take_out_token(request.data["event_data"], message)
    _add_money(request.data, message)
    _add_campaign(request.data, campaign)
    return request


def _install(
    message: Track, source: Source, device: Device, campaign: Campaign | None
) -> KochavaRequest:
    data = common_data(message, device)
    tokens = (text(_at(place, message)) for place in _token_places)
    token = next(filter(None, tokens), None)
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
    return _renamed.get(event) or STANDARD_NAMES.get(spelled(event), event)


def _at(place: str, message: Track) -> object:
    field, *keys = place.split(".")
    value: Any = getattr(message, field)
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _take_out_token(fields: dict[str, Any], message: Track) -> None:
    """Options become event_data, but a token among them is meant for the install alone."""
    if not section(message.integrations, "Kochava"):
        return
    for place in _token_places:
        option = place.removeprefix("integrations.Kochava.")
        if option != place and _at(place, message) is not None:
            fields.pop(option.replace(".", "_"), None)


def _add_money(data: dict[str, Any], message: Track) -> None:
    """Kochava counts revenue by `sum`; `currency` belongs beside event_data."""
    properties, fields = message.properties, data["event_data"]
    total = amount(properties.get("revenue"))
    if total is None and spelled(message.event) in ("order completed", "completed order"):
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
