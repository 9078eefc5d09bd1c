"""What the documents show is run: plugins, configuration, JSON, and the first steps."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from proxy.cli.examples import load_examples, send_examples
from proxy.configfile import read_config
from proxy.mapping.hookspecs import NAMESPACE
from proxy.mapping.plugins import load_plugins
from tests.docs.conftest import Running
from tests.docs.documents import ROOT, Block, blocks, plugin_blocks
from tests.support import SOURCE, make_config


def place(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", blocks("toml"), ids=place)
def test_toml_is_a_good_configuration(block: Block, tmp_path: Path) -> None:
    table = tomllib.loads(block.text)
    if "project" in table:
        assert NAMESPACE in table["project"]["entry-points"]
        return
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)", block.text), "something")
    table.setdefault("sources", [SOURCE])
    read_config(table, environment, tmp_path / "config.toml")


def test_json_is_json() -> None:
    for block in blocks("json"):
        assert json.loads(block.text) is not None, block.place


@pytest.mark.parametrize("block", blocks("python"), ids=place)
def test_python_compiles_and_a_plugin_says_its_name(block: Block) -> None:
    compile(block.text, block.place, "exec")
    assert block.plugin_file or "@hookimpl" not in block.text


def test_no_two_plugins_of_the_documents_share_a_name() -> None:
    named = [block.plugin_file for block in blocks("python") if block.plugin_file]
    assert sorted(named) == sorted(set(named))


def test_the_readme_s_first_plugin_is_as_short_as_it_promises_to_be() -> None:
    source = plugin_blocks()["swords.py"]
    assert len([line for line in source.splitlines() if line.strip()]) <= 8


async def test_the_readme_shows_what_make_run_prints(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = load_examples(ROOT / "examples")
    await send_examples(examples, running.url, SOURCE["write_key"], running.narrator)
    printed = capsys.readouterr().out
    shown = blocks("text")[0]
    assert shown.place.startswith("README.md")
    parts = [part.strip("\n") for part in re.split(r"^ *\.\.\.\n", shown.text, flags=re.MULTILINE)]
    assert len(parts) > 1
    at = 0
    for part in parts:
        assert part in printed[at:]
        at = printed.index(part, at) + len(part)


def test_the_error_that_writing_plugins_shows_is_the_one_there_is(tmp_path: Path) -> None:
    [shown] = [block for block in blocks("text") if "map_trak" in block.text]
    folder = tmp_path / "plugins.d"
    folder.mkdir()
    source = plugin_blocks()["vip.py"].replace("def map_track", "def map_trak")
    (folder / "vip.py").write_text(source)
    with pytest.raises(Exception, match="map_trak") as caught:
        load_plugins(make_config(), tmp_path)
    said = str(caught.value).replace(f"{tmp_path}/", "")
    assert shown.text.startswith(said)
