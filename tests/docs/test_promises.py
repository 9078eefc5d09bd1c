"""What the documents promise in passing, as an operator meets it."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from proxy.app import App
from proxy.cli.explaining import explain_message
from proxy.cli.main import main
from proxy.errors import ConfigError
from proxy.mapping.plugins import load_plugins
from tests.docs.conftest import Running
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


def test_explain_knows_a_source_by_each_of_its_keys(tmp_path: Path) -> None:
    """While one key replaces another, `write_key` is a list."""
    path = tmp_path / "config.toml"
    path.write_text("""
        [[sources]]
        name = "first"
        write_key = "wk_first"
        kochava_app_id = "ko-1"

        [[sources]]
        name = "second"
        write_key = ["wk_new", "wk_old"]
        kochava_app_id = "ko-2"
    """)
    message = '{"type": "track", "event": "Tested", "userId": "u-1", "writeKey": "wk_old"}'
    ran = CliRunner().invoke(main, ["explain", "-c", str(path), "--json"], input=message)
    assert json.loads(ran.stdout)["source"] == "second"


@pytest.mark.parametrize("token", ["a/b", "a b", "a?b", "a%41", "..", "ä"])
def test_a_webhook_token_that_no_url_could_carry_is_refused(token: str) -> None:
    """Base64 has "/": Segment would be answered 404, and drop what it sent."""
    with pytest.raises(ConfigError, match=r"sources\[0\].webhook_token"):
        make_config({"webhook_token": token})


async def test_without_tls_sighup_does_not_claim_to_have_loaded_a_certificate(
    tmp_path: Path,
) -> None:
    app = App(make_config(), tmp_path, load_plugins(make_config(), tmp_path))
    with capture_logs() as logs:
        app.reload()
    assert logs == []


async def test_pixels_that_are_not_kept_are_logged_now_and_then(running: Running) -> None:
    """They come from anybody: a line for each would let anybody fill the disk."""
    with capture_logs() as logs:
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                async with session.get(f"{running.url}/v1/pixel/track?writeKey=none") as answer:
                    assert answer.status == 200
    assert [log["event"] for log in logs].count("pixel_not_kept") == 1
