"""The plugins of the documents do what the text round them says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy import Filtered, Identity, Postback
from proxy.cli.explaining import Explanation, explain_message
from proxy.config import Config
from proxy.errors import ConfigError
from proxy.mapping.observers import PluginObservers
from proxy.mapping.plugins import Plugins, load_plugins
from proxy.segment import Source
from proxy.states import Outcome, Settlement
from tests.docs.documents import blocks, plugin_blocks
from tests.support import IOS_DEVICE, make_config, make_message

PLUGINS = plugin_blocks()


def load(folder: Path, name: str, settings: dict[str, Any] | None = None) -> tuple[Config, Plugins]:
    """The built-in plugins and the document's plugin of this name, dropped in."""
    (folder / "plugins.d").mkdir()
    (folder / "plugins.d" / name).write_text(PLUGINS[name])
    tables = {"plugins": {"settings": {name: settings}}} if settings else {}
    config = make_config(**tables)
    return config, load_plugins(config, folder)


def explain(folder: Path, name: str, settings: Any = None, /, **message: Any) -> Explanation:
    """What becomes of a message from a known device."""
    config, plugins = load(folder, name, settings)
    sent = {"type": "track", "userId": "u-1", "context": {"device": IOS_DEVICE}, **message}
    return explain_message(config, folder, plugins, "acme", msgspec.json.encode(sent))


def body(explanation: Explanation) -> dict[str, Any]:
    assert explanation.outcome == "deliver", explanation
    [request] = explanation.requests
    return dict(request["body"])


SETTINGS: dict[str, dict[str, Any]] = {
    "staff.py": {"user_ids": ["u-1", "u-2"]},
    "prefix.py": {"prefix": "Beta"},
}


@pytest.mark.parametrize("name", PLUGINS)
def test_it_loads(name: str, tmp_path: Path) -> None:
    _, plugins = load(tmp_path, name, SETTINGS.get(name))
    assert plugins.loaded[-1].name == name


@pytest.mark.parametrize("name", PLUGINS)
def test_it_leaves_other_events_to_the_built_in_mappings(name: str, tmp_path: Path) -> None:
    other = explain(tmp_path, name, SETTINGS.get(name), userId="u-9", event="Song Played")
    assert body(other)["data"]["event_name"].endswith("Song Played")


@pytest.mark.parametrize("name", SETTINGS)
def test_it_refuses_to_start_without_its_settings(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f'plugins.settings."{name}"'):
        load(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        pytest.param(
            "swords.py",
            {"event": "Sword Found"},
            {"event_name": "Achievement", "event_data": {"name": "sword"}},
            id="swords.py",
        ),
        pytest.param(
            "trials.py",
            {"event": "Trial Begun", "properties": {"plan": "gold"}},
            {"event_name": "Start Trial", "event_data": {"name": "gold", "user_id": "u-1"}},
            id="trials.py",
        ),
        pytest.param(
            "vip.py",
            {"event": "Song Played", "properties": {"lifetime_value": 1000}},
            {"event_data": {"lifetime_value": 1000, "vip": "true"}},
            id="vip.py",
        ),
        pytest.param(
            "vip.py",
            {"event": "Song Played", "properties": {"lifetime_value": "unknown"}},
            {"event_data": {"lifetime_value": "unknown", "vip": "false"}},
            id="vip.py-no-number",
        ),
        pytest.param(
            "prefix.py",
            {"event": "Song Played"},
            {"event_name": "Beta Song Played"},
            id="prefix.py",
        ),
        pytest.param(
            "teams.py",
            {"type": "group", "groupId": "g-1", "traits": {"size": 5}},
            {"event_name": "Team Joined", "event_data": {"team": "g-1", "size": 5}},
            id="teams.py",
        ),
    ],
)
def test_an_event_becomes(
    name: str, message: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    data = body(explain(tmp_path, name, SETTINGS.get(name), **message))["data"]
    assert {key: data[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "message", "reason"),
    [
        pytest.param("staff.py", {"event": "Song Played"}, "staff", id="staff.py"),
        pytest.param(
            "per_product.py",
            {"event": "Order Completed", "context": {}},
            "no_device_id",
            id="per_product.py-no-device",
        ),
        pytest.param(
            "per_product.py",
            {"event": "Order Completed"},
            "mapped_to_nothing",
            id="per_product.py-no-products",
        ),
        pytest.param(
            "debug_screens.py",
            {"type": "screen", "name": "Debug Menu"},
            "debug_screen",
            id="debug_screens.py",
        ),
        pytest.param(
            "only_checkout_pages.py",
            {"type": "page", "name": "Home"},
            "not_a_checkout_page",
            id="only_checkout_pages.py",
        ),
    ],
)
def test_a_message_is_filtered(
    name: str, message: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    explanation = explain(tmp_path, name, SETTINGS.get(name), **message)
    assert (explanation.outcome, explanation.reason) == ("filtered", reason)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("debug_screens.py", {"type": "screen", "name": "Home"}, id="debug_screens.py"),
        pytest.param(
            "only_checkout_pages.py",
            {"type": "page", "name": "Home", "category": "Checkout"},
            id="only_checkout_pages.py",
        ),
    ],
)
def test_what_is_not_filtered_is_a_view(name: str, message: dict[str, Any], tmp_path: Path) -> None:
    assert body(explain(tmp_path, name, **message))["data"]["event_name"] == "View"


def test_the_message_that_the_readme_explains_is_mapped_by_its_plugin(tmp_path: Path) -> None:
    [message] = [
        match[1]
        for block in blocks("sh")
        if block.place.startswith("README.md")
        and (match := re.search(r"^echo '(.*?)' \|$", block.text, re.DOTALL | re.MULTILINE))
    ]
    found = body(explain(tmp_path, "swords.py", **json.loads(message)))
    assert found["data"]["event_name"] == "Achievement"


def test_an_order_becomes_one_event_for_each_product(tmp_path: Path) -> None:
    products = [{"sku": "s-1"}, {"sku": "s-2"}]
    explanation = explain(
        tmp_path, "per_product.py", event="Order Completed", properties={"products": products}
    )
    data = [request["body"]["data"]["event_data"] for request in explanation.requests]
    assert data == products


def test_a_campaign_reaches_the_install(tmp_path: Path) -> None:
    context = {"device": IOS_DEVICE, "appleSearchAds": {"campaignName": "Brand"}}
    install = explain(tmp_path, "apple_campaign.py", event="Application Installed", context=context)
    details = body(install)["data"]["iad_attribution_details"]["Version3.1"]
    assert details["iad-campaign-name"] == "Brand"


@pytest.mark.parametrize(
    ("name", "message", "linked"),
    [
        pytest.param(
            "plan.py",
            {"type": "identify", "traits": {"plan": "gold"}},
            {"app_userid": "u-1", "plan": "gold"},
            id="plan.py",
        ),
        pytest.param(
            "link_at_once.py",
            {"type": "alias", "previousId": "a-1"},
            {"app_userid": "u-1"},
            id="link_at_once.py",
        ),
    ],
)
def test_a_link_goes_to_the_device_known_of_the_user(
    name: str, message: dict[str, Any], linked: dict[str, str], tmp_path: Path
) -> None:
    link = body(explain(tmp_path, name, **message))
    assert link["device_id"]["idfv"] == IOS_DEVICE["id"]
    assert link["data"] == linked


def test_the_postback_of_a_purchase_is_mapped_and_installs_are_left_to_the_built_in(
    tmp_path: Path,
) -> None:
    _, plugins = load(tmp_path, "postbacks.py")
    source = Source(name="acme", kochava_app_id="koacme")

    def mapped(identity: Identity | None, **fields: str) -> Any:
        postback = Postback(
            message_id="p-1", received_at=make_message().timestamp, fields={"adid": "a", **fields}
        )
        return plugins.hook.map_postback(postback=postback, source=source, identity=identity)

    track = mapped(Identity(user_id="u-1"), event_name="Purchase", network="Acme Ads")
    assert (track.event, track.user_id) == ("Purchase Attributed", "u-1")
    assert track.properties == {"provider": "Kochava", "network": "Acme Ads"}
    assert mapped(None, event_name="_install").event == "Install Attributed"
    assert mapped(None, event_name="Rating") is None
    with pytest.raises(Filtered, match="purchase_of_nobody"):
        mapped(None, event_name="Purchase")


def test_attempts_are_counted(tmp_path: Path) -> None:
    _, plugins = load(tmp_path, "counts.py")
    request: Any = object()
    PluginObservers(plugins).attempted(make_message(), request, Outcome("retry", "timeout"), 1)
    assert plugins.loaded[-1].module.attempts == {("object", "retry"): 1}


def test_a_dead_letter_raises_the_alarm_and_a_delivery_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plugins = load(tmp_path, "dead_alarm.py")
    observers = PluginObservers(plugins)
    observers.settled(make_message(), Settlement("delivered"))
    observers.settled(make_message(), Settlement("dead", "status_400"))
    assert capsys.readouterr().err == "dead letter: track status_400\n"


def test_every_plugin_of_the_documents_is_tried_here() -> None:
    own = Path(__file__).read_text()
    assert not [name for name in PLUGINS if f'"{name}"' not in own]
