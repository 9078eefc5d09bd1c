from __future__ import annotations

from pathlib import Path

from proxy.mapping.plugins import HOOKS
from tests.cli.conftest import Cli


def test_every_hook_with_who_is_asked_first_and_from_where(cli: Cli) -> None:
    cli.plugin("vip.py", "@hookimpl\ndef map_track(message): return None\n")
    hooks = cli.json("plugins")["hooks"]
    assert list(hooks) == list(HOOKS)
    asked = [(each["plugin"], each["origin"]) for each in hooks["map_track"]]
    built_in = [("plugins/track.py", "built-in"), ("plugins/identify.py", "built-in")]
    assert asked == [("vip.py", "drop-in"), *built_in]
    assert Path(hooks["map_track"][0]["file"]) == cli.folder / "plugins.d" / "vip.py"
    assert hooks["map_group"] == []


def test_a_disabled_plugin_is_not_shown(cli: Cli) -> None:
    config = cli.folder / "config.toml"
    text = '[plugins]\ndisable = ["screen"]\n' + config.read_text(encoding="utf-8")
    config.write_text(text, encoding="utf-8")
    assert cli.json("plugins")["hooks"]["map_screen"] == []


def test_people_read_the_same(cli: Cli) -> None:
    lines = cli("plugins").stdout.splitlines()
    below = lines[lines.index("map_track") + 1]
    assert below.startswith("    plugins/track.py  (built-in: ")
    assert lines[lines.index("map_group") + 1] == "    (nobody)"
