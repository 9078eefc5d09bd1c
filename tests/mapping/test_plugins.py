"""Which plugins are loaded, in which order, and who is asked first."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest

from proxy.errors import PluginError
from proxy.kochava import KochavaRequest
from proxy.mapping.plugins import Plugins, load_plugins
from tests.mapping.plugin_files import drop, load, request
from tests.support import make_config, make_message

SOURCE = make_config().sources[0].public()
BUILT_IN = [
    "plugins/filters.py", "plugins/iad_campaign.py", "plugins/identify.py", "plugins/postback.py",
    "plugins/screen.py", "plugins/track.py",
]  # fmt: skip
GROUP = "@hookimpl\ndef map_group(message): return None\n"


def names(plugins: Plugins) -> list[str]:
    return [plugin.name for plugin in plugins.loaded]


def asked(plugins: Plugins, hook: str = "map_track") -> KochavaRequest:
    message = make_message(context={"device": {"id": "d", "type": "ios"}})
    answer = getattr(plugins.hook, hook)(message=message, source=SOURCE, campaign=None)
    assert isinstance(answer, KochavaRequest)
    return answer


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions, each with one entry point of our group."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    return site


def distribution(site: Path, name: str, point: str, module: str, source: str) -> None:
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[kochava_proxy]\n{point} = {module}\n")
    (site / f"{module.partition(':')[0]}.py").write_text("from proxy import hookimpl\n" + source)
    importlib.invalidate_caches()


def test_built_ins_then_entry_points_then_drop_ins_each_sorted(
    tmp_path: Path, install: Path
) -> None:
    distribution(install, "one", "zulu", "installed_zulu", GROUP)
    with (install / "one-1.0.dist-info" / "entry_points.txt").open("a") as points:
        points.write("alpha = installed_alpha\n")
    shutil.copy(install / "installed_zulu.py", install / "installed_alpha.py")
    plugins = load(tmp_path, b=GROUP, a=GROUP)
    assert names(plugins) == [*BUILT_IN, "alpha", "zulu", "a.py", "b.py"]
    assert plugins.answering("map_group") == ["b.py", "a.py", "zulu", "alpha"]


def test_a_plugin_knows_where_it_comes_from(tmp_path: Path, install: Path) -> None:
    distribution(install, "one", "zulu", "installed_origin", GROUP)
    found = {plugin.name: plugin for plugin in load(tmp_path, a=GROUP).loaded}
    assert found["plugins/track.py"].origin == "built-in"
    assert found["zulu"].origin == "one 1.0"
    assert found["zulu"].file == str(install / "installed_origin.py")
    assert (found["a.py"].origin, found["a.py"].file) == (
        "drop-in", str(tmp_path / "plugins.d" / "a.py"),
    )  # fmt: skip


def test_an_entry_point_may_name_an_object(tmp_path: Path, install: Path) -> None:
    source = (
        "class Mine:\n    @hookimpl\n    def map_group(self, message): return None\nmine = Mine()\n"
    )
    distribution(install, "one", "zulu", "installed_object:mine", source)
    assert load(tmp_path).answering("map_group") == ["zulu"]


@pytest.mark.parametrize(
    ("module", "source", "what"),
    [
        ("installed_raising", "1 / 0\n", "ZeroDivisionError"),
        ("installed_without:mine", "", "AttributeError"),
        ("installed_table:mine", "mine = {}\n", "TypeError"),
    ],
    ids=["raises", "names nothing", "names a dict"],
)
def test_an_entry_point_that_cannot_be_loaded_is_refused_by_distribution(
    module: str, source: str, what: str, tmp_path: Path, install: Path
) -> None:
    distribution(install, "one", "zulu", module, source)
    with pytest.raises(PluginError) as caught:
        load(tmp_path)
    (problem,) = caught.value.problems
    assert problem.file == f"one 1.0 ({module})"
    assert what in problem.what


def test_entry_points_can_be_switched_off(tmp_path: Path, install: Path) -> None:
    distribution(install, "one", "zulu", "installed_off", "1 / 0\n")
    config = make_config(plugins={"entry_points": False})
    assert names(load(tmp_path, config)) == BUILT_IN


def test_two_plugins_cannot_share_a_name(tmp_path: Path, install: Path) -> None:
    distribution(install, "one", "vip.py", "installed_twin", GROUP)
    with pytest.raises(PluginError, match="already registered") as caught:
        load(tmp_path, vip=GROUP)
    assert caught.value.problems[0].file == str(tmp_path / "plugins.d" / "vip.py")


@pytest.mark.parametrize("name", ["track", "track.py", "plugins/track.py"])
def test_a_built_in_is_disabled_by_each_of_its_names(name: str, tmp_path: Path) -> None:
    plugins = load(tmp_path, make_config(plugins={"disable": [name]}))
    assert names(plugins) == [each for each in BUILT_IN if each != "plugins/track.py"]
    assert plugins.answering("map_track") == ["plugins/identify.py"]


def test_the_name_of_a_drop_in_means_the_drop_in(tmp_path: Path) -> None:
    config = make_config(plugins={"disable": ["track.py"]})
    assert names(load(tmp_path, config, track=GROUP)) == BUILT_IN


def test_what_is_disabled_is_not_even_loaded(tmp_path: Path, install: Path) -> None:
    distribution(install, "one", "zulu", "installed_disabled", "1 / 0\n")
    config = make_config(plugins={"disable": ["vip.py", "zulu"]})
    assert names(load(tmp_path, config, vip="1 / 0\n")) == BUILT_IN


def test_helpers_and_editors_files_are_no_plugins(tmp_path: Path) -> None:
    drop(tmp_path, _helper="1 / 0\n")
    (tmp_path / "plugins.d" / ".#vip.py").write_text("1 / 0\n")
    (tmp_path / "plugins.d" / "notes.txt").write_text("1 / 0\n")
    assert names(load(tmp_path)) == BUILT_IN


def test_the_folder_is_looked_for_beside_the_config_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    drop(tmp_path, vip=GROUP)
    assert names(load_plugins(make_config(), Path(".."))) == [*BUILT_IN, "vip.py"]
    assert names(load_plugins(make_config(), Path())) == BUILT_IN


def test_a_dropped_file_replaces_a_built_in_by_answering(tmp_path: Path) -> None:
    plugins = load(tmp_path, vip=f"@hookimpl\ndef map_track(message): return {request('Mine')}\n")
    assert asked(plugins).data["event_name"] == "Mine"


def test_none_means_not_mine(tmp_path: Path) -> None:
    plugins = load(tmp_path, vip="@hookimpl\ndef map_track(message): return None\n")
    assert asked(plugins).data["event_name"] == "Tested"


def test_a_wrapper_adjusts_the_answer_of_a_built_in(tmp_path: Path) -> None:
    plugins = load(
        tmp_path,
        vip="""
        @hookimpl(wrapper=True)
        def map_track(message):
            answer = yield
            answer.data["event_name"] += f" by {message.message_id}"
            return answer
        """,
    )
    assert asked(plugins).data["event_name"] == "Tested by m-1"


def test_a_file_is_a_real_module_to_the_standard_library(tmp_path: Path) -> None:
    """dataclasses and typing look a class's module up in sys.modules."""
    plugins = load(
        tmp_path,
        vip=f"""
        from dataclasses import dataclass
        from typing import get_type_hints

        @dataclass
        class Name:
            text: "str"

        @hookimpl
        def map_track(message):
            assert get_type_hints(Name) == {{"text": str}}
            return {request("Mine")}
        """,
    )
    assert asked(plugins).data["event_name"] == "Mine"


def test_two_loads_share_nothing(tmp_path: Path) -> None:
    counting = f"""
        calls = []

        @hookimpl
        def map_track(message):
            calls.append(message)
            answer = {request()}
            answer.data["calls"] = len(calls)
            return answer
        """
    first, second = load(tmp_path, vip=counting), load(tmp_path)
    assert [asked(each).data["calls"] for each in (first, first, second)] == [1, 2, 1]


def test_each_plugin_is_configured_once_with_its_own_settings(tmp_path: Path) -> None:
    keeping = """
        given = []

        @hookimpl
        def configure(settings, config):
            given.append((settings, config.sources[0].name))
        """
    config = make_config(plugins={"settings": {"a.py": {"group": "vip"}}})
    plugins = load(tmp_path, config, a=keeping, b=keeping)
    given = {plugin.name: plugin.module.given for plugin in plugins.loaded[-2:]}
    assert given == {"a.py": [({"group": "vip"}, "acme")], "b.py": [({}, "acme")]}


def test_a_listener_hears_who_said_what_under_the_name_of_the_hook(tmp_path: Path) -> None:
    plugins = load(
        tmp_path,
        vip="""
        @hookimpl
        def map_screen(message): return None

        map_page = map_screen

        @hookimpl(specname="map_track")
        def mine(message): return None

        @hookimpl(wrapper=True)
        def map_group(message):
            yield
            return "wrapped"
        """,
    )
    heard: list[tuple[str, str, object]] = []
    given = {"message": make_message("group"), "source": SOURCE, "campaign": None}
    with plugins.listening(lambda *said: heard.append(said)):
        plugins.hook.map_group(**given)
        plugins.hook.map_page(
            **{
                **given,
                "message": make_message("page", anonymous_id="a", context={"os": {"name": "iOS"}}),
            }
        )
        asked(plugins)
    asked(plugins)  # outside: not heard
    assert [(hook, name) for hook, name, _ in heard] == [
        ("map_group", "vip.py"),
        ("map_page", "vip.py"),
        ("map_page", "plugins/screen.py"),
        ("map_track", "vip.py"),
        ("map_track", "plugins/track.py"),
    ]
    assert heard[0][2] == "wrapped"
