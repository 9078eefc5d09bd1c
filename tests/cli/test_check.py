from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli

SHIPPED = Path(__file__).parents[2] / "config.toml"


def test_a_good_config_says_what_it_holds(cli: Cli) -> None:
    cli.plugin("vip.py", "@hookimpl\ndef map_group(message): return None\n")
    assert cli("check").stdout == "config.toml: good; 2 sources, 7 plugins\n"


def test_the_shipped_config_is_good(cli: Cli) -> None:
    assert "good; 1 sources" in cli("check", "-c", str(SHIPPED)).stdout


def test_plugins_are_looked_for_beside_the_config(cli: Cli) -> None:
    """From wherever the command is run."""
    folder = cli.folder / "etc"
    folder.mkdir()
    (cli.folder / "config.toml").rename(folder / "proxy.toml")
    (folder / "plugins.d").mkdir()
    (folder / "plugins.d" / "vip.py").write_text("1 / 0\n", encoding="utf-8")
    cli.plugin("ours.py", "2 / 0\n")
    stderr = cli("check", "-c", "etc/proxy.toml", code=2).stderr
    assert "etc/plugins.d/vip.py: line 1" in stderr
    assert "ours.py" not in stderr


def test_problems_of_plugin_settings_name_the_config_file(cli: Cli) -> None:
    config = cli.folder / "config.toml"
    good = config.read_text(encoding="utf-8")
    config.write_text('[plugins.settings."vip.py"]\na = 1\n' + good, encoding="utf-8")
    stderr = cli("check", code=2).stderr
    assert 'config.toml: plugins.settings."vip.py": there is no such plugin' in stderr
    config.write_text('[plugins]\ndisable = ["trakc"]\n' + good, encoding="utf-8")
    assert "config.toml: plugins.disable: no plugin 'trakc'" in cli("check", code=2).stderr
