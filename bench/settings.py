"""The config of the proxies that are measured: what ships, but for what a run must have its way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.messages import WRITE_KEY


def table(track_url: str, link_path: str, **more: dict[str, Any]) -> dict[str, Any]:
    """A config that sends to `track_url`, and identity links to `link_path` of the same server;
    the tables of `more` go over what stands here.
    """
    server = track_url.split("/", 3)[:3]
    tables: dict[str, dict[str, Any]] = {
        "server": {"port": 0, "max_connections_per_address": 0},
        "kochava": {"track_url": track_url, "identity_link_url": "/".join(server) + link_path},
        "console": {"host": ""},
        "spool": {"high_water_megabytes": 0},
    }
    for name, keys in more.items():
        tables[name] = {**tables.get(name, {}), **keys}
    source = {
        "name": "acme",
        "write_key": WRITE_KEY,
        "kochava_app_id": {"ios": "koacme-ios", "android": "koacme-android"},
        "traits": ["plan", "city"],
    }
    return {**tables, "sources": [source]}


def write(folder: Path, settings: dict[str, Any]) -> Path:
    """The config.toml of a folder."""
    path = folder / "config.toml"
    lines = (f"{key} = {_toml(value)}\n" for key, value in settings.items())
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    """Inline tables, and JSON's scalars, which are TOML's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
