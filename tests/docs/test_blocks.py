"""What the documents show is run: plugins, configuration, JSON, and the first steps."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.app import App
from proxy.cli.examples import Narrator, load_examples, send_examples
from proxy.configfile import read_config
from proxy.mapping.hookspecs import NAMESPACE
from proxy.mapping.plugins import load_plugins
from proxy.observe.stats import read_stats
from proxy.sandbox.server import LINK_PATH, TRACK_PATH, Sandbox
from tests.docs.documents import ROOT, Block, blocks, plugin_blocks
from tests.support import NOW, SOURCE, make_config


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


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[tuple[App, Narrator]]:
    """A proxy as `make run` starts it, on a free port."""
    sandbox = Sandbox()
    await sandbox.start()
    config = make_config(
        server={"port": 0},
        kochava={
            "track_url": sandbox.url + TRACK_PATH,
            "identity_link_url": sandbox.url + LINK_PATH,
        },
    )
    narrator = Narrator()
    app = App(config, tmp_path, load_plugins(config, tmp_path, narrator.plugin()), sandbox=True)
    await app.start()
    yield app, narrator
    app.request_stop()
    await app.serve()
    await sandbox.stop()


async def test_the_readme_shows_what_make_run_prints(
    app: tuple[App, Narrator], capsys: pytest.CaptureFixture[str]
) -> None:
    running, narrator = app
    examples = load_examples(ROOT / "examples")
    await send_examples(examples, f"http://127.0.0.1:{running.port}", SOURCE["write_key"], narrator)
    printed = capsys.readouterr().out
    shown = blocks("text")[0]
    assert shown.place.startswith("README.md")
    parts = [part.strip("\n") for part in re.split(r"^ *\.\.\.\n", shown.text, flags=re.MULTILINE)]
    assert len(parts) > 1
    at = 0
    for part in parts:
        assert part in printed[at:]
        at = printed.index(part, at) + len(part)


async def test_the_readme_s_python_client_gets_its_event_delivered(
    app: tuple[App, Narrator], tmp_path: Path
) -> None:
    running, narrator = app
    [client] = [block for block in blocks("python") if "analytics.host" in block.text]
    assert "http://127.0.0.1:8080" in client.text
    script = client.text.replace(":8080", f":{running.port}")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
        await narrator.settled.get()
    stats = read_stats(tmp_path / "data" / "spool.db", [], NOW)
    assert stats.balanced
    assert stats.sources["acme"].delivered == 1


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
