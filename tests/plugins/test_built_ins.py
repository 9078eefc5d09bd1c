"""The built-in plugins are templates: each stands alone and can be copied, as users are told."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import plugins
import proxy
from plugins import postback
from proxy.errors import PluginError
from proxy.mapping.plugins import load_plugins
from proxy.postback import NAMES
from tests.plugins.cases import check, load, map_golden
from tests.support import make_config

FILES = sorted(
    file for file in Path(plugins.__path__[0]).glob("*.py") if not file.name.startswith("_")
)

#: For each plugin a golden that no other plugin gets right.
SHOWS = {
    "filters": "integrations-kochava-false",
    "iad_campaign": "iad-campaign-on-an-event",
    "identify": "identify-audience-entered",
    "postback": "postback-of-a-known-user",
    "screen": "screen-with-name-is-a-view",
    "track": "track-application-installed-is-an-install",
}

NO_PLACES: tuple[Any, ...] = (
    5, {}, True, "", "context", "context.", "device.adServicesToken", "context..token",
    ["traits.token"], ["context.device.token", 5],
)  # fmt: skip

by_name = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@by_name
def test_it_imports_what_proxy_offers_and_nothing_below(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "proxy":
            assert {alias.name for alias in node.names} <= set(proxy.__all__)
        elif isinstance(node, ast.ImportFrom):
            assert (node.level, node.module in sys.stdlib_module_names) == (0, True), node.module
        elif isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names


@by_name
def test_a_copy_in_the_drop_in_folder_does_the_same(file: Path, tmp_path: Path) -> None:
    golden = load(SHOWS[file.stem])
    alone = msgspec.structs.replace(
        golden, config={"plugins": {"disable": [f"plugins/{file.name}"]}}
    )
    with pytest.raises(AssertionError):
        check(golden, map_golden(alone, tmp_path))

    (tmp_path / "plugins.d").mkdir()
    shutil.copy(file, tmp_path / "plugins.d")
    check(golden, map_golden(alone, tmp_path))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"event_name": {}}, "unknown setting 'event_name'"),
        ({"event_names": ["Purchase"]}, "event_names must be a table"),
        ({"event_names": {"Item Purchased": 1}}, "event_names must be a table"),
        *(({"ad_services_token": place}, "must be a place") for place in NO_PLACES),
    ],
)
def test_track_refuses_settings_it_does_not_understand(
    settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    config = make_config(plugins={"settings": {"plugins/track.py": settings}})
    with pytest.raises(PluginError, match=says):
        load_plugins(config, tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"organics": False}, "unknown setting 'organics'"),
        ({"organic": "no"}, "organic must be true or false"),
        ({"context_campaign": 1}, "context_campaign must be true or false"),
    ],
    ids=["misspelt", "text", "number"],
)
def test_postback_refuses_settings_it_does_not_understand(
    settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    config = make_config(plugins={"settings": {"plugins/postback.py": settings}})
    with pytest.raises(PluginError, match=says):
        load_plugins(config, tmp_path)


def test_postback_has_a_place_for_every_parameter_with_a_name() -> None:
    assert set(NAMES) == postback.NO_PROPERTIES - {"provider"}


def test_a_token_may_be_sought_nowhere(tmp_path: Path) -> None:
    nowhere: dict[str, Any] = {
        "plugins": {"settings": {"plugins/track.py": {"ad_services_token": []}}}
    }
    golden = load("adservices-token-on-an-install")
    golden = msgspec.structs.replace(golden, config=nowhere)
    (request,) = map_golden(golden, tmp_path).requests
    assert "ad_services_token" not in request["body"]["data"]


def test_a_plugin_of_the_users_is_asked_before_both_mappings_of_track(tmp_path: Path) -> None:
    """Neither what Engage computed nor any other event is withheld from it."""
    names = load_plugins(make_config(), tmp_path).answering("map_track")
    assert sorted(names) == ["plugins/identify.py", "plugins/track.py"]
    (tmp_path / "plugins.d").mkdir()
    mine = "@hookimpl\ndef map_track():\n    raise Filtered('mine')\n"
    (tmp_path / "plugins.d" / "mine.py").write_text(
        f"from proxy import Filtered, hookimpl\n\n{mine}", "utf-8"
    )
    assert load_plugins(make_config(), tmp_path).answering("map_track")[0] == "mine.py"
    for name in ("engage-audience-entered", "track-custom-name-goes-unchanged"):
        assert map_golden(load(name), tmp_path).reason == "mine"


@pytest.mark.parametrize("copied", [["track"], ["identify"], ["identify", "track"]], ids="+".join)
def test_copies_beside_the_originals_leave_engage_to_the_identity_links(
    copied: list[str], tmp_path: Path
) -> None:
    """In whatever order the two mappings of `track` are asked, and by which of their copies."""
    (tmp_path / "plugins.d").mkdir()
    for stem in copied:
        shutil.copy(next(file for file in FILES if file.stem == stem), tmp_path / "plugins.d")
    for name in ("engage-audience-entered", "track-custom-name-goes-unchanged"):
        golden = load(name)
        check(golden, map_golden(golden, tmp_path))


def test_without_the_identity_links_what_engage_computed_is_not_an_event(tmp_path: Path) -> None:
    golden = load("engage-audience-entered")
    disabled = {"plugins": {"disable": ["plugins/identify.py"]}}
    result = map_golden(msgspec.structs.replace(golden, config=disabled), tmp_path)
    assert (result.outcome, result.reason) == ("filtered", "unmapped")


def test_renames_of_one_proxy_do_not_reach_another(tmp_path: Path) -> None:
    renamed = load("track-name-renamed-by-the-config")
    before = map_golden(renamed, tmp_path)
    plain = map_golden(msgspec.structs.replace(renamed, config={}), tmp_path)
    names = [result.requests[0]["body"]["data"]["event_name"] for result in (before, plain)]
    assert names == ["Purchase", "Item Purchased"]
