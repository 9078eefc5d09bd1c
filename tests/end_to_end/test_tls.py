"""HTTPS by the real process: certificates that change, and such as cannot be used."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from tests.end_to_end.processes import (
    COMMAND,
    PATIENCE,
    Proxy,
    Sink,
    running,
    serving,
    until,
    write_config,
)
from tests.receive.test_listener import BROKEN, certify, spoil, trusting

NOWHERE = "http://127.0.0.1:9"
SERVER = {"port": 0, "tls_certificate": "proxy.pem", "tls_key": "proxy.key"}


class Connection:
    """One that stays open, over which health checks go."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = streams

    @property
    def certificate(self) -> bytes:
        """The one that was shown when it was opened."""
        shown: bytes = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown

    async def is_served(self) -> bool:
        self._writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            answer = await self._reader.readuntil(b"}")
        return answer.startswith(b"HTTP/1.1 200 ")

    async def close(self) -> None:
        self._writer.close()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)


async def connect(proxy: Proxy, authority: trustme.CA) -> Connection:
    context = trusting(authority)
    streams = await asyncio.open_connection(
        "127.0.0.1", proxy.port, ssl=context, server_hostname="localhost"
    )
    return Connection(streams)


async def shown(proxy: Proxy, authority: trustme.CA) -> bytes:
    """The certificate that a new connection is shown."""
    connection = await connect(proxy, authority)
    await connection.close()
    return connection.certificate


def hang_up(proxy: Proxy) -> None:
    """The signal to read the files again."""
    assert proxy.process is not None
    proxy.process.send_signal(signal.SIGHUP)


async def logged(proxy: Proxy, event: str) -> None:
    await until(lambda: event in proxy.log.read_text())


async def test_a_message_comes_in_by_https(tmp_path: Path) -> None:
    authority = trustme.CA()
    certify(authority, tmp_path)
    message = {
        "event": "Tested",
        "anonymousId": "a-1",
        "messageId": "m-1",
        "writeKey": "wk_acme",
        "properties": {"id": "m-1"},
    }
    async with (
        serving(Sink()) as sink,
        running(write_config(tmp_path, sink.url, server=SERVER)) as proxy,
        aiohttp.ClientSession() as session,
    ):
        url = f"https://localhost:{proxy.port}/v1/track"
        async with session.post(url, json=message, ssl=trusting(authority)) as answer:
            assert answer.status == 200
        assert (await proxy.settles())["delivered"] == 1
        assert sink.successes() == {"m-1": 1}
        assert await proxy.end() == 0


async def test_sighup_takes_a_new_certificate_while_connections_go_on(tmp_path: Path) -> None:
    authority = trustme.CA()
    first = certify(authority, tmp_path)
    async with running(write_config(tmp_path, NOWHERE, server=SERVER)) as proxy:
        held = await connect(proxy, authority)
        assert held.certificate == first
        second = certify(authority, tmp_path)
        hang_up(proxy)
        await logged(proxy, "certificate_loaded")
        assert await shown(proxy, authority) == second
        assert await held.is_served()
        await held.close()
        assert await proxy.end() == 0


@pytest.mark.parametrize("how", ["missing", "other key", "encrypted key"])
async def test_a_new_certificate_that_cannot_be_used_is_logged_and_the_old_stays(
    tmp_path: Path, how: str
) -> None:
    authority = trustme.CA()
    first = certify(authority, tmp_path)
    async with running(write_config(tmp_path, NOWHERE, server=SERVER)) as proxy:
        spoil(tmp_path, how, authority)
        hang_up(proxy)
        await logged(proxy, "certificate_not_loaded")
        assert "server.tls_certificate" in proxy.log.read_text()
        assert await shown(proxy, authority) == first
        second = certify(authority, tmp_path)  # mended
        hang_up(proxy)
        await logged(proxy, "certificate_loaded")
        assert await shown(proxy, authority) == second
        assert await proxy.end() == 0


async def test_without_tls_sighup_changes_nothing(tmp_path: Path) -> None:
    async with running(write_config(tmp_path, NOWHERE)) as proxy:
        hang_up(proxy)
        async with aiohttp.ClientSession() as session:
            for _ in range(10):
                async with session.get(f"{proxy.url}/health/ready") as answer:
                    assert answer.status == 200
        assert "certificate" not in proxy.log.read_text()
        assert await proxy.end() == 0


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("called", ["check", "run"])
def test_a_certificate_that_cannot_be_used_is_refused_without_asking_anybody(
    tmp_path: Path, called: str, how: str
) -> None:
    """OpenSSL asks the terminal for the passphrase of a key, and would wait for ever."""
    authority = trustme.CA()
    certify(authority, tmp_path)
    spoil(tmp_path, how, authority)
    code, said = at_a_terminal(called, "-c", write_config(tmp_path, NOWHERE, server=SERVER))
    assert code == 2
    assert "config.toml: server.tls_certificate: " in said
    assert "proxy.pem" in said
    assert "proxy.key" in said
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()


def at_a_terminal(*arguments: Any) -> tuple[int, str]:
    """Exit code and output of a command at whose terminal nobody types anything."""
    ours, theirs = os.openpty()
    try:
        done = subprocess.run(
            [COMMAND, *arguments],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            start_new_session=True,  # so that this is its only terminal
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return done.returncode, done.stdout.decode()


def test_check_is_content_with_a_certificate_that_can_be_used(tmp_path: Path) -> None:
    authority = trustme.CA()
    certify(authority, tmp_path)
    code, said = at_a_terminal("check", "-c", write_config(tmp_path, NOWHERE, server=SERVER))
    assert (code, "good" in said) == (0, True)


async def test_plain_http_at_an_https_port_does_no_harm(tmp_path: Path) -> None:
    authority = trustme.CA()
    certify(authority, tmp_path)
    async with running(write_config(tmp_path, NOWHERE, server=SERVER)) as proxy:
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                with pytest.raises(aiohttp.ClientError):
                    await session.get(f"{proxy.url}/health/live")
        connection = await connect(proxy, authority)
        assert await connection.is_served()
        await connection.close()
        assert await proxy.end() == 0
        assert "Traceback" not in proxy.log.read_text()


async def test_who_trusts_another_authority_is_not_served(tmp_path: Path) -> None:
    certify(trustme.CA(), tmp_path)
    async with running(write_config(tmp_path, NOWHERE, server=SERVER)) as proxy:
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(proxy, trustme.CA())
        assert await proxy.end() == 0
