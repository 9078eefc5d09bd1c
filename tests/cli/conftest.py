"""Commands run in this process, each in a folder of its own with a config.toml."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from proxy.database import Database
from proxy.identities import known
from proxy.spool import schema
from proxy.spool.sqlite import SqliteSpool
from tests.support import FakeClock

CONFIG = """
[[sources]]
name = "acme"
write_key = "wk_acme"
kochava_app_id = { ios = "koacme-ios", android = "koacme-android" }
[[sources]]
name = "other"
write_key = "wk_other"
kochava_app_id = "koother"
"""


class Cli:
    """`kochava-proxy`, without -c: the config is where the command is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, stdin: bytes | str = b"", code: int = 0) -> Result:
        result = CliRunner().invoke(main, arguments, input=stdin)
        # An exception other than SystemExit would be a traceback on somebody's terminal.
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert "Traceback" not in result.stderr
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: str, stdin: bytes | str = b"", code: int = 0) -> Any:
        """The one document on standard output."""
        return json.loads(self(*arguments, "--json", stdin=stdin, code=code).stdout)

    def plugin(self, name: str, text: str) -> None:
        folder = self.folder / "plugins.d"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("from proxy import *\n" + text, encoding="utf-8")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    return Cli(tmp_path)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """The file of the spool, as a running proxy holds it open."""
    database = Database(tmp_path / "data" / "spool.db", (schema.SCHEMA, known.SCHEMA))
    yield database
    await database.close()


@pytest.fixture
def spool(database: Database, clock: FakeClock) -> SqliteSpool:
    return SqliteSpool(database, clock, 86_400.0)
