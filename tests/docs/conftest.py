"""A proxy as the documents have it, for what they show to be sent to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.app import App
from proxy.cli.examples import Narrator
from proxy.mapping.plugins import load_plugins
from proxy.observe.stats import read_stats
from proxy.sandbox.server import LINK_PATH, TRACK_PATH, Sandbox
from proxy.spool.base import Counts
from tests.support import NOW, make_config

WEBHOOK = {"webhook_token": "wt-1", "webhook_secret": "ws-1"}


class Running:
    """A proxy in front of a sandbox, on a free port."""

    def __init__(self, app: App, narrator: Narrator, folder: Path) -> None:
        self.narrator = narrator
        self.port = app.port
        self.url = f"http://127.0.0.1:{app.port}"
        self._folder = folder

    def counts(self) -> Counts:
        """The ledger of its source, balanced."""
        stats = read_stats(self._folder / "data" / "spool.db", [], NOW)
        assert stats.balanced
        return stats.sources["acme"]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    sandbox = Sandbox()
    await sandbox.start()
    config = make_config(
        {**WEBHOOK, "postback_token": "t", "segment_write_key": "wk_segment"},
        server={"port": 0},
        kochava={
            "track_url": sandbox.url + TRACK_PATH,
            "identity_link_url": sandbox.url + LINK_PATH,
        },
        segment={"api_url": f"{sandbox.url}/v1"},
    )
    narrator = Narrator()
    app = App(config, tmp_path, load_plugins(config, tmp_path, narrator.plugin()), sandbox=True)
    await app.start()
    home = f"http://127.0.0.1:{app.port}/postbacks/kochava/t"
    sandbox.fire_at(lambda _: (home,), delay_seconds=0)
    yield Running(app, narrator, tmp_path)
    app.request_stop()
    await app.serve()
    await sandbox.stop()
