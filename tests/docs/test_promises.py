"""What the documents promise of broken plugins, as an operator meets it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy.cli.explain import explain_message
from proxy.errors import ConfigError
from proxy.mapping.plugins import load_plugins
from tests.support import IOS_DEVICE, make_config

RAISES = """
from proxy import hookimpl


@hookimpl
def map_track(message):
    raise ValueError(message.event)
"""


def drop_in(folder: Path, name: str, text: str) -> None:
    (folder / "plugins.d").mkdir()
    (folder / "plugins.d" / name).write_text(text)


def test_a_plugin_that_cannot_be_loaded_can_be_disabled_by_its_name(tmp_path: Path) -> None:
    drop_in(tmp_path, "broken.py", "import nothing_of_this_name\n")
    with pytest.raises(ConfigError, match="nothing_of_this_name"):
        load_plugins(make_config(), tmp_path)
    config = make_config(plugins={"disable": ["broken.py"]})
    assert "broken.py" not in [plugin.name for plugin in load_plugins(config, tmp_path).loaded]


def test_a_dead_letter_names_its_plugin_where_the_config_is_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-c config.toml`, the default, makes the folder of plugins a relative path."""
    drop_in(tmp_path, "raises.py", RAISES)
    monkeypatch.chdir(tmp_path)
    config = make_config()
    sent = {
        "type": "track",
        "event": "Song Played",
        "userId": "u-1",
        "context": {"device": IOS_DEVICE},
    }
    result = explain_message(
        config, Path(), load_plugins(config, Path()), "acme", msgspec.json.encode(sent)
    )
    assert (result.outcome, result.reason) == ("dead", "plugin_error:raises.py")
