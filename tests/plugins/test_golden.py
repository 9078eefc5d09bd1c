"""Every golden file, through delivery's own path and through `kochava-proxy explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from proxy.decode import parse_time
from proxy.sandbox.rules import link_problems, track_problems
from tests.plugins.cases import NAMES, TRACK_URL, Golden, Result, check, load, map_golden
from tests.support import NOW, SOURCE


@pytest.mark.parametrize("name", NAMES)
def test_delivery_maps_it_so(name: str) -> None:
    golden = load(name)
    check(golden, map_golden(golden))


@pytest.mark.parametrize("name", [name for name in NAMES if load(name).requests])
def test_what_kochava_asks_for_is_kept(name: str) -> None:
    """The sandbox's rules were written from Kochava's pages, not from the mappings."""
    for request in map_golden(load(name)).requests:
        body = request["body"]
        is_link = request["url"] != TRACK_URL
        assert (link_problems(body) if is_link else track_problems(body, request["headers"])) == []


def _complete(golden: Golden) -> bool:
    """Whether the message alone says everything, for `explain` is given nothing else.

    It takes a message that names its time of sending for one received at that time.
    """
    message = golden.message
    sent = parse_time(message.get("sentAt")) and not parse_time(message.get("receivedAt"))
    return not (golden.postback or golden.ip or golden.batch or golden.before or sent)


@pytest.mark.parametrize("name", [name for name in NAMES if _complete(load(name))])
def test_explain_says_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    golden = load(name)
    config = {"sources": [{**SOURCE, **golden.source}], **golden.config}
    check(golden, _explain(tmp_path, config, json.dumps(golden.message)))


def test_explain_refuses_a_number_beyond_any_range(tmp_path: Path) -> None:
    """It is JSON all the same (RFC 8259, section 6), so it is the message that is at fault."""
    message = '{"type": "track", "event": "Tested", "userId": "u", "properties": {"x": 1e400}}'
    result = _explain(tmp_path, {"sources": [SOURCE]}, message)
    assert (result.outcome, result.reason) == ("rejected", "bad_request")


def _explain(folder: Path, config: dict[str, Any], message: str) -> Result:
    path = folder / "config.toml"
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in config.items()), "utf-8")
    ran = CliRunner().invoke(main, ["explain", "-c", str(path), "--json"], input=message)
    result = msgspec.json.decode(ran.stdout, type=Result)
    assert ran.exit_code == (1 if result.outcome in ("rejected", "dead") else 0), ran.output
    return result


def _toml(value: object) -> str:
    """Of what config files hold, TOML writes only tables otherwise than JSON."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
