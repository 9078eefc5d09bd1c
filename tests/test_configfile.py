"""Reading config.toml: types, variables, and every problem at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.config import Config
from proxy.configfile import load_config, read_config
from proxy.errors import ConfigError, Problem
from tests.support import SOURCE

FILE = Path("config.toml")
WriteConfig = Callable[[str], Path]


def read(environment: dict[str, str] | None = None, **tables: Any) -> Config:
    return read_config({"sources": [SOURCE], **tables}, environment or {}, FILE)


def problems(environment: dict[str, str] | None = None, **tables: Any) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        read(environment, **tables)
    return caught.value.problems


@pytest.mark.parametrize(
    ("tables", "key", "mend"),
    [
        ({"sever": {}}, "sever", "did you mean 'server'?"),
        ({"server": {"prot": 1}}, "server.prot", "did you mean 'port'?"),
        ({"segment": {"zzz": 1}}, "segment.zzz", "known keys: api_url"),
        ({"sources": [{**SOURCE, "writekey": "w"}]}, "sources[0].writekey",
         "did you mean 'write_key'?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    tables: dict[str, Any], key: str, mend: str
) -> None:
    assert problems(**tables) == (Problem("config.toml", key, "unknown key", mend),)


@pytest.mark.parametrize(
    ("tables", "key", "what", "mend"),
    [
        ({"server": {"port": "8080"}}, "server.port",
         "Expected `int`, got `str`", "for example: port = 8080"),
        ({"server": {"port": True}}, "server.port",
         "Expected `int`, got `bool`", "for example: port = 8080"),
        ({"server": {"trusted_proxies": "10.0.0.0/8"}}, "server.trusted_proxies",
         "Expected `array`, got `str`", "for example: trusted_proxies = []"),
        ({"plugins": {"disable": ["a", 1]}}, "plugins.disable",
         "Expected `str`, got `int` - at `plugins.disable[1]`", "for example: disable = []"),
        ({"plugins": {"entry_points": "yes"}}, "plugins.entry_points",
         "Expected `bool`, got `str`", "for example: entry_points = true"),
        ({"server": 8080}, "server", "must be a table", "write [server] above its keys"),
        ({"server": [{}]}, "server", "must be a table", "write [server] above its keys"),
        ({"plugins": {"settings": 1}}, "plugins.settings",
         "Expected `object`, got `int`",
         'write [plugins.settings."NAME OF THE PLUGIN"] above its keys'),
        ({"plugins": {"settings": {"vip.py": 1}}}, "plugins.settings",
         "Expected `object`, got `int` - at `plugins.settings[...]`",
         'write [plugins.settings."NAME OF THE PLUGIN"] above its keys'),
        ({"sources": [{**SOURCE, "write_key": 5}]}, "sources[0].write_key",
         "Expected `str | array`, got `int`", 'write write_key = "..."'),
    ],
    ids=["text for a number", "boolean for a number", "text for a list", "number in a list",
         "text for a boolean", "value for a table", "list for a table", "number for settings",
         "number for one plugin's settings", "number for a key"],
)  # fmt: skip
def test_a_wrong_type_is_named_with_an_example(
    tables: dict[str, Any], key: str, what: str, mend: str
) -> None:
    assert problems(**tables) == (Problem("config.toml", key, what, mend),)


def test_one_table_of_sources_is_not_a_list_of_them() -> None:
    found = problems(sources=SOURCE)[0]
    assert (found.key, found.mend) == ("sources", "write [[sources]]")


def test_a_missing_key_of_a_source_is_named() -> None:
    found = [each.key for each in problems(sources=[SOURCE, {"name": "other"}])]
    assert found == ["sources[1].write_key", "sources[1].kochava_app_id"]


def test_all_problems_are_reported_at_once(write_config: WriteConfig) -> None:
    path = write_config("""
        colour = "red"
        [server]
        port = "http"
        workers = -1
        [kochava]
        track_url = "${NOWHERE}"
        [delivery]
        timeout_seconds = 0
        [plugins]
        directory = "nowhere"
        [[sources]]
        name = "acme"
        kochava_app_id = ""
    """)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    found = caught.value.problems
    assert {problem.key for problem in found} == {
        "colour", "server.port", "server.workers", "kochava.track_url", "delivery.timeout_seconds",
        "plugins.directory", "sources[0].write_key", "sources[0].kochava_app_id",
    }  # fmt: skip
    for problem in found:
        assert (problem.file, bool(problem.what), bool(problem.mend)) == (str(path), True, True)
        assert f"{path}: {problem.key}: {problem.what}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "environment", "value"),
    [
        ("${HOST}", {"HOST": "h"}, "h"),
        ("${HOST:-d}", {"HOST": "h"}, "h"),
        ("${HOST:-d}", {}, "d"),
        ("${HOST:-d}", {"HOST": ""}, "d"),
        ("${HOST:-a:-b}", {}, "a:-b"),
        ("http://${HOST:-d}:${PORT}/x", {"PORT": "1"}, "http://d:1/x"),
        ("$HOST {HOST} $$", {"HOST": "h"}, "$HOST {HOST} $$"),
        ("${A}", {"A": "${B}", "B": "b"}, "${B}"),
    ],
    ids=["set", "set, with a default", "not set", "empty", "default with a colon", "inside text",
         "not a reference", "not expanded twice"],
)  # fmt: skip
def test_a_variable_is_replaced(text: str, environment: dict[str, str], value: str) -> None:
    assert read(environment, console={"host": text}).console.host == value


def test_a_variable_reaches_lists_and_nested_tables() -> None:
    config = read(
        {"NET": "10.0.0.0/8", "APP": "koacme", "GROUP": "vip"},
        server={"trusted_proxies": ["${NET}"]},
        sources=[{**SOURCE, "kochava_app_id": {"ios": "${APP}-ios"}}],
        plugins={"settings": {"vip.py": {"groups": ["${GROUP}"], "deep": {"one": "${GROUP}"}}}},
    )
    assert config.server.trusted_proxies == ("10.0.0.0/8",)
    assert config.sources[0].kochava_app_id == {"ios": "koacme-ios"}
    settings = config.plugins.settings["vip.py"]
    assert settings == {"groups": ["vip"], "deep": {"one": "vip"}}
    # A plugin may hand its settings on to Kochava: they must be plain text.
    assert msgspec.json.encode(settings) == b'{"groups":["vip"],"deep":{"one":"vip"}}'


def test_keys_are_not_replaced() -> None:
    config = read({"NAME": "n"}, plugins={"settings": {"${NAME}": {"${NAME}": 1}}})
    assert config.plugins.settings == {"${NAME}": {"${NAME}": 1}}


@pytest.mark.parametrize(
    ("tables", "value", "read_as"),
    [
        ({"server": {"port": "${V}"}}, "9000", 9000),
        ({"delivery": {"timeout_seconds": "${V}"}}, "2.5", 2.5),
        ({"kochava": {"encode_user_agent": "${V}"}}, "true", True),
        ({"spool": {"path": "${V}"}}, "12", "12"),
    ],
    ids=["int", "float", "bool", "digits that are text"],
)
def test_a_variable_may_stand_for_any_type(
    tables: dict[str, dict[str, str]], value: str, read_as: object
) -> None:
    config = read({"V": value}, **tables)
    ((table, keys),) = tables.items()
    found = getattr(getattr(config, table), next(iter(keys)))
    assert (found, type(found)) == (read_as, type(read_as))


def test_a_variable_of_the_wrong_type_is_reported_without_its_value() -> None:
    (found,) = problems({"V": "hush-hush"}, server={"port": "${V}"})
    assert found.key == "server.port"
    assert "hush-hush" not in str(found)


def test_a_missing_variable_is_named_with_the_key_that_wants_it() -> None:
    (found,) = problems(sources=[{**SOURCE, "traits": ["a", "${GONE}"]}])
    assert found.key == "sources[0].traits[1]"
    assert found.what == "the environment variable GONE is not set"
    assert "${GONE:-default}" in found.mend


@pytest.mark.parametrize("text", ["${NOT-A-NAME}", "${HOST", "${HOST-default}", "${}"])
def test_what_only_looks_like_a_variable_is_refused(text: str) -> None:
    (found,) = problems({"HOST": "h"}, console={"host": text})
    assert found.key == "console.host"


def test_broken_toml_names_the_line(write_config: WriteConfig) -> None:
    path = write_config('[server]\nhost = "127.0.0.1"\nport 8080\n')
    with pytest.raises(ConfigError, match="line 3") as caught:
        load_config(path, {})
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("case", ["missing", "folder", "not text"])
def test_a_file_that_cannot_be_read_is_named(case: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    if case == "folder":
        path.mkdir()
    elif case == "not text":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    (problem,) = caught.value.problems
    assert (problem.file, problem.key) == (str(path), "")
    assert case != "missing" or "no such file" in problem.what
