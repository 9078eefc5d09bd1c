"""What keeps it from starting is said in one line, without a traceback."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import Proxy, exit_code, running, write_config

NOWHERE = "http://127.0.0.1:9"


async def refused(config: Path) -> tuple[int, str]:
    """The exit code and what was printed, logs of the orderly end aside."""
    proxy = Proxy(config)
    code = await exit_code(proxy.spawn())
    lines = [line for line in proxy.log.read_text().splitlines() if not line.startswith("{")]
    assert lines
    return code, "\n".join(lines)


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = await refused(write_config(tmp_path, NOWHERE, port))
    assert code == 1
    assert said.count("\n") == 0
    assert str(port) in said
    assert "address already in use" in said


@pytest.mark.parametrize("path", ["file.txt/spool.db", "folder", "file.txt"])
async def test_a_spool_that_cannot_be_used_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "file.txt").write_text("This is no database. " * 100)
    (tmp_path / "folder").mkdir()
    code, said = await refused(write_config(tmp_path, NOWHERE, spool={"path": path}))
    assert code == 1
    assert said.count("\n") == 0
    assert path.partition("/")[0] in said


async def test_a_second_process_on_the_same_spool_is_refused_and_the_first_goes_on(
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, NOWHERE)
    async with running(config) as first:
        code, said = await refused(config)
        assert code == 1
        assert said.count("\n") == 0
        assert "another kochava-proxy" in said
        assert "spool.db" in said
        assert await first.end() == 0


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"server": {"prot": 1}}, "server.prot"),
        ({"plugins": {"directory": "nowhere"}}, "plugins.directory"),
    ],
    ids=["unknown key", "missing folder"],
)
async def test_a_bad_config_is_named_by_key(
    tmp_path: Path, tables: dict[str, Any], key: str
) -> None:
    code, said = await refused(write_config(tmp_path, NOWHERE, **tables))
    assert code == 2
    assert key in said
    assert "Traceback" not in said


async def test_a_broken_plugin_refuses_to_start_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "plugins.d").mkdir()
    (tmp_path / "plugins.d" / "vip.py").write_text("import no_such_thing\n")
    code, said = await refused(write_config(tmp_path, NOWHERE))
    assert code == 2
    assert "vip.py" in said
    assert "no_such_thing" in said
    assert not (tmp_path / "data").exists()
