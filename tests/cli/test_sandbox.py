from __future__ import annotations

import socket

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    "option", ["--host", "--port", "--record", "--latency-ms", "--fail-rate", "--fail-status"]
)
def test_its_options_are_those_of_the_contract(cli: Cli, option: str) -> None:
    assert f"{option} " in cli("sandbox", "--help").stdout


def test_a_port_in_use_is_bad_use(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "address already in use" in cli("sandbox", "--port", str(port), code=2).stderr
