"""docs/postbacks.md: the URL to paste, the parameters, and what Segment gets of them."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest

from proxy.config import Postbacks
from proxy.mapping.plugins import load_plugins
from proxy.postback import IDS, NAMES, read_fields, spellings
from proxy.receive import postbacks
from proxy.receive.intake import MAX_MESSAGE
from proxy.receive.postbacks import read_form
from proxy.segment import Identity
from tests.docs.documents import ROOT, Block, blocks, rows
from tests.plugins.cases import Result, map_postback
from tests.support import make_config

PAGE = ROOT / "docs" / "postbacks.md"
PARAMETERS = [cells for heading, cells in rows(PAGE) if heading == "Parameters"][2:]


def on_the_page(language: str, part: str) -> Block:
    [found] = [
        block
        for block in blocks(language)
        if block.place.startswith("docs/postbacks.md") and part in block.text
    ]
    return found


def given_by(url: str) -> dict[str, str]:
    return read_form(urlsplit(url).query)


def become(given: dict[str, str], identity: Identity | None = None, **tables: Any) -> Result:
    config = make_config(**tables)
    return map_postback(config, load_plugins(config, ROOT / "nowhere"), given, identity)


def mapped(
    given: dict[str, str], identity: Identity | None = None, **tables: Any
) -> dict[str, Any]:
    result = become(given, identity, **tables)
    assert result.outcome == "deliver", result
    body: dict[str, Any] = result.requests[0]["body"]
    return body


def test_the_table_of_parameters_is_what_is_read_in_its_order() -> None:
    told = {
        cells[0].strip("`"): tuple(re.findall(r"`(\w+)`", f"{cells[0]} {cells[1]}"))
        for cells in PARAMETERS
    }
    assert list(told.items()) == list(NAMES.items())
    assert tuple(name for name in told if name in IDS) == IDS  # as "Repeats" says


@pytest.mark.parametrize("cells", PARAMETERS, ids=lambda cells: str(cells[0]))
def test_a_parameter_becomes_what_the_table_says(cells: list[str]) -> None:
    name, value = cells[0].strip("`"), "2026-01-01 09:30:00"
    needed = {"android_id": "9774d56d682e549c", "network": "Acme Ads"}
    track = mapped({**needed, "event_name": "_install", name: value} if name != "event_name"
                   else {**needed, name: "_install"})  # fmt: skip
    if cells[2].startswith("nothing"):
        assert value not in json.dumps(track["properties"]) + json.dumps(track["context"])
        return
    found: Any = track
    for key in cells[2].strip("`").split("."):
        found = found[key]
    assert found == ("2026-01-01T09:30:00.000Z" if name == "event_time" else value)


def test_the_url_to_paste_has_every_parameter_and_a_macro_for_each() -> None:
    url = on_the_page("text", "https://your.host").text.strip()
    assert urlsplit(url).path == "/postbacks/kochava/<postback_token>"
    assert given_by(url) == {name: f"{{{name}}}" for name in NAMES}


def test_pasted_without_any_macro_that_kochava_knows_it_says_nothing() -> None:
    given = given_by(on_the_page("text", "https://your.host").text)
    assert read_fields(msgspec.json.encode(given), spellings({})) == {}


def test_what_segment_gets_is_what_is_shown() -> None:
    shown = json.loads(on_the_page("json", "Install Attributed").text)
    campaign, device = shown["properties"]["campaign"], shown["context"]["device"]
    values = {
        "event_name": "_install",
        "event_time": "2026-01-01 09:30:00",
        "kochava_device_id": device["id"],
        "idfa": device["advertisingId"],
        "platform": "iOS",
        "ip": shown["context"]["ip"],
        "user_agent": shown["context"]["userAgent"],
        "network": campaign["source"],
        "campaign": campaign["name"],
        "creative": campaign["ad_creative"],
        **{name: campaign[name] for name in ("attribution", "medium", "content", "ad_group")},
    }
    url = on_the_page("text", "https://your.host").text.strip() + "&country={country}"
    for name, value in {**values, "country": "DE"}.items():
        url = url.replace(f"={{{name}}}", f"={urlencode({'': value})[1:]}")
    identity = Identity(user_id=shown["userId"], anonymous_id=shown["anonymousId"])
    track = mapped(given_by(url), identity)
    assert track.pop("message_id")
    track["userId"], track["anonymousId"] = track.pop("user_id"), track.pop("anonymous_id")
    assert track == shown


def test_names_of_the_configuration_are_read_as_it_says() -> None:
    tables = tomllib.loads(on_the_page("toml", "[postbacks.parameters]").text)
    given = {
        "adid": "a-1",
        "partner": "p",
        "network": "n",
        "video": "v",
        "banner": "b",
        "t": "gold",
    }
    properties = mapped(given, **tables)["properties"]
    assert properties["campaign"] == {"source": "p", "ad_creative": "b"}
    assert properties["customer_tier"] == "gold"


@pytest.mark.parametrize("setting", ["context_campaign = true", "organic = false"])
def test_the_settings_shown_are_those_of_the_mapping(setting: str) -> None:
    tables = tomllib.loads(on_the_page("toml", setting).text)
    track = mapped({"adid": "a-1", "network": "n"}, **tables)
    assert ("campaign" in track["context"]) == (setting == "context_campaign = true")
    organic = become({"adid": "a-1"}, **tables)
    assert organic.reason == ("organic" if setting == "organic = false" else "")


def test_what_it_says_of_waits_and_limits_is_what_there_is() -> None:
    page, defaults = PAGE.read_text(), Postbacks()
    assert f"`postbacks.hold_seconds`, {defaults.hold_seconds:.0f} |" in page
    assert f"`postbacks.user_hold_seconds`, {defaults.user_hold_seconds:.0f} |" in page
    limits = f"{MAX_MESSAGE // 1024} KB or {postbacks.MAX_PARAMETERS:,} parameters"
    assert limits in page
    assert limits.replace(" or", ",") in (ROOT / "docs" / "clients.md").read_text()
