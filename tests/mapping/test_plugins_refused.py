"""Anything wrong with a plugin refuses to start, and names file, hook and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.errors import ConfigError, PluginError, Problem
from tests.mapping.plugin_files import load
from tests.support import make_config

GOOD = "@hookimpl\ndef map_group(message): return None\n"


def refusal(base: Path, plugin: str) -> Problem:
    with pytest.raises(PluginError) as caught:
        load(base, vip=plugin)
    (problem,) = caught.value.problems
    assert problem.file == str(base / "plugins.d" / "vip.py")
    return problem


@pytest.mark.parametrize(
    ("plugin", "key", "what"),
    [
        ("\n\ndef broken(:\n", "line 2", "SyntaxError"),
        ("import no_such_module\n", "line 2", "ModuleNotFoundError: No module named"),
        ("def fails():\n    1 / 0\n\nfails()\n", "line 3", "ZeroDivisionError"),
        ("from json import no_such_name\n", "line 2", "ImportError"),
        ("import sys\nsys.exit(0)\n", "line 3", "SystemExit: 0"),
        ("@hookimpl\ndef map_trak(message): ...\n", "map_trak, line 2", "there is no such hook"),
        ("@hookimpl\ndef map_track(message, user): ...\n", "map_track, line 2",
         "has an unknown parameter 'user'"),
        ("@hookimpl\ndef map_track(message, campaign=None): ...\n", "map_track, line 2",
         "would never be given 'campaign'"),
        ("@hookimpl\ndef map_track(*, message): ...\n", "map_track, line 2",
         "would never be given 'message'"),
        ("@hookimpl\ndef map_track(*message): ...\n", "map_track, line 2",
         "would never be given 'message'"),
        ("@hookimpl\nasync def map_track(message): ...\n", "map_track, line 2", "is async"),
        ("@hookimpl\nasync def map_track(message):\n    yield\n", "map_track, line 2", "is async"),
        ("@hookimpl\ndef map_track(message):\n    yield\n", "map_track, line 2",
         "yields without wrapper=True"),
        ("@hookimpl(wrapper=True)\ndef map_track(message): ...\n", "map_track, line 2",
         "a wrapper that never yields"),
        ("@hookimpl(hookwrapper=True)\ndef map_track(message):\n    yield\n", "map_track, line 2",
         "is an old-style wrapper"),
        ("@hookimpl(wrapper=True)\ndef event_settled(message):\n    return (yield)\n",
         "event_settled, line 2", "cannot be wrapped"),
        ("@hookimpl(wrapper=True)\ndef configure(settings):\n    return (yield)\n",
         "configure, line 2", "cannot be wrapped"),
        ("@hookimpl(specname='map_trak')\ndef mine(message): ...\n", "map_trak, line 2",
         "there is no such hook"),
        ("\ndef map_track(message): ...\n", "map_track, line 2", "is not marked"),
        ("NUMBER = 1\n", "", "has no hooks"),
        (GOOD + "@hookimpl\ndef configure(settings):\n    raise ConfigError('no such group')\n",
         'plugins.settings."vip.py"', "no such group"),
        (GOOD + "@hookimpl\ndef configure(settings):\n    settings['x']\n",
         "configure, line 6", "KeyError: 'x'"),
    ],
    ids=["syntax error", "missing module", "raises while loading", "missing name", "exits",
         "unknown hook", "unknown parameter", "parameter with a default", "keyword-only parameter",
         "star parameter", "async def", "async generator", "generator without wrapper",
         "wrapper without yield", "old-style wrapper", "wrapped observer", "wrapped configure",
         "unknown specname", "not marked", "no hooks", "configure says no", "configure raises"],
)  # fmt: skip
def test_a_wrong_plugin_is_refused(plugin: str, key: str, what: str, tmp_path: Path) -> None:
    problem = refusal(tmp_path, plugin)
    assert problem.key == key
    assert what in problem.what


def test_the_nearest_hook_is_suggested(tmp_path: Path) -> None:
    problem = refusal(tmp_path, "@hookimpl\ndef map_trak(message): ...\n")
    assert problem.mend == "did you mean 'map_track'?"


def test_the_parameters_there_are_are_named(tmp_path: Path) -> None:
    problem = refusal(tmp_path, "@hookimpl\ndef drop_reason(event): ...\n")
    assert problem.mend == "it may take: message, source"


def test_a_line_is_named_below_a_relative_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the default `-c config.toml`."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError) as caught:
        load(Path(), vip="1 / 0\n")
    assert caught.value.problems[0].key == "line 2"


def test_the_line_of_a_syntax_error_in_another_file_is_not_given_as_the_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vip_tables.py").write_text("\n\n\n\n\n\n(\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    problem = refusal(tmp_path, "import vip_tables\n")
    assert problem.key == "line 2"
    assert "vip_tables.py, line 7" in problem.what


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"disable": ["trak"]}, "no plugin 'trak'"),
        ({"settings": {"vip": {}}}, "there is no such plugin"),
        ({"disable": ["vip"], "settings": {"vip.py": {"a": 1}}}, "no plugin 'vip'"),
        ({"disable": ["vip.py"], "settings": {"vip.py": {"a": 1}}}, "there is no such plugin"),
    ],
    ids=["unknown disabled", "settings of none", "stem of a drop-in", "settings of a disabled one"],
)
def test_a_name_that_no_plugin_has_is_refused(
    settings: dict[str, object], what: str, tmp_path: Path
) -> None:
    with pytest.raises(PluginError) as caught:
        load(tmp_path, make_config(plugins=settings), vip=GOOD)
    assert what in caught.value.problems[0].what
    assert "vip.py" in caught.value.problems[0].mend or "plugins/track.py" in str(caught.value)


def test_a_folder_that_the_config_names_must_be_there() -> None:
    with pytest.raises(ConfigError, match="there is no folder 'nowhere'"):
        make_config(plugins={"directory": "nowhere"})
