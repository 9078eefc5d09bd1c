"""What all commands have in common: usage, exit codes, and what is still to come."""

from __future__ import annotations

import importlib.metadata

import pytest

from tests.cli.conftest import Cli

COMMANDS = ("run", "sandbox", "check", "explain", "plugins", "stats", "dead", "bench")
ON_A_CONFIG = (["run"], ["check"], ["explain"], ["plugins"], ["stats"], ["dead", "list"],
               ["dead", "show", "1"])  # fmt: skip
JSON = (["explain"], ["plugins"], ["stats"], ["dead", "list"])


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_every_command(cli: Cli, option: str) -> None:
    text = cli(option).stdout
    assert [command for command in COMMANDS if f"\n  {command} " not in text] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    assert f"Usage: main {command}" in cli(command, "-h").stdout


def test_the_version_is_that_of_the_distribution(cli: Cli) -> None:
    assert importlib.metadata.version("kochava-proxy") in cli("--version").stdout


@pytest.mark.parametrize("command", [["test"], ["init"]], ids=" ".join)
def test_commands_to_come_are_named_as_such(cli: Cli, command: list[str]) -> None:
    assert "is not available in this version" in cli(*command, code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["check", "--nonsense"],
        ["check", "-c"],
        ["explain", "no-such-file.json"],
        ["explain", "--source"],
        ["dead", "list", "--limit", "0"],
        ["dead", "show"],
        ["dead", "show", "seven"],
        ["sandbox", "--port", "65536"],
        ["sandbox", "--fail-rate", "1.5"],
        ["sandbox", "--fail-status", "200"],
        ["sandbox", "--latency-ms", "-1"],
        ["bench", "--only", "nonsense"],
        ["bench", "--rounds", "0"],
        ["run", "--examples", "no-such-folder"],
        ["run", "--examples", "."],  # without --sandbox they would go to Kochava
    ],
    ids=" ".join,
)
def test_bad_use_exits_with_2_and_says_how_it_is_meant(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments, code=2)
    assert "Error: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", ON_A_CONFIG, ids=" ".join)
def test_a_bad_config_exits_with_2_and_every_problem(cli: Cli, command: list[str]) -> None:
    (cli.folder / "config.toml").write_text('[server]\nport = "x"\nhots = "h"\n', "utf-8")
    result = cli(*command, code=2)
    assert result.stdout == ""
    for text in ("config.toml: server.port: ", "config.toml: server.hots: ", "mend: ",
                 "config.toml: sources: ", "3 problems"):  # fmt: skip
        assert text in result.stderr


@pytest.mark.parametrize("command", ON_A_CONFIG, ids=" ".join)
def test_a_missing_config_is_named(cli: Cli, command: list[str]) -> None:
    assert (
        "nowhere.toml: there is no such file" in cli(*command, "-c", "nowhere.toml", code=2).stderr
    )


@pytest.mark.parametrize("command", [["run"], ["check"], ["explain"], ["plugins"]], ids=" ".join)
@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        ("@hookimpl\ndef map_trak(message): ...\n",
         "plugins.d/vip.py: map_trak, line 2: there is no such hook"),
        ("1 / 0\n", "plugins.d/vip.py: line 2: ZeroDivisionError"),
    ],
    ids=["unknown hook", "raises"],
)  # fmt: skip
def test_a_wrong_plugin_exits_with_2_and_its_place(
    cli: Cli, command: list[str], plugin: str, problem: str
) -> None:
    cli.plugin("vip.py", plugin)
    assert problem in cli(*command, code=2).stderr


@pytest.mark.parametrize("command", JSON, ids=" ".join)
def test_with_json_there_is_one_document_and_nothing_else(cli: Cli, command: list[str]) -> None:
    message = '{"type": "track", "event": "A", "userId": "u"}'
    assert isinstance(cli.json(*command, stdin=message), dict)


def test_what_a_command_reads_may_be_no_spool(cli: Cli) -> None:
    path = cli.folder / "data" / "spool.db"
    path.parent.mkdir()
    for content in (b"", b"this is no database, but long enough to be taken for one" * 9):
        path.write_bytes(content)
        identify = '{"type": "identify", "userId": "u", "traits": {}}'
        for command in (["stats"], ["dead", "list"], ["dead", "show", "1"], ["explain"]):
            assert "data/spool.db: " in cli(*command, stdin=identify, code=1).stderr
