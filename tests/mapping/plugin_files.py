"""Plugins written into a folder as a user would, and loaded from there."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

from proxy.config import Config
from proxy.device import Device
from proxy.mapping.dispatch import Dispatcher
from proxy.mapping.plugins import Plugins, load_plugins
from tests.support import make_config

HEAD = "from proxy import Campaign, ConfigError, Filtered, IdentityLink, KochavaRequest, hookimpl\n"


def drop(base: Path, **sources: str) -> None:
    """Writes drop-in files; line 1 of each is the import of what plugins need."""
    folder = base / "plugins.d"
    folder.mkdir(exist_ok=True)
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(HEAD + dedent(source).lstrip("\n"), encoding="utf-8")


def load(base: Path, config: Config | None = None, **sources: str) -> Plugins:
    drop(base, **sources)
    return load_plugins(config or make_config(), base)


def dispatcher(base: Path, *, known: tuple[Device, ...] = (), **sources: str) -> Dispatcher:
    return Dispatcher(load(base, None, **sources), lambda _source, _message: known)


def request(name: str = "Tested", **fields: Any) -> str:
    """The source text of a request, for use inside plugins."""
    data = {"event_name": name}
    arguments = {"kochava_app_id": "ko", "kochava_device_id": "d-1", "data": data, **fields}
    return f"KochavaRequest(action='event', **{arguments!r})"
