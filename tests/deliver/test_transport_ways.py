"""The ways to the other side: TLS, proxies, HTTP/2."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from proxy.deliver import curl
from proxy.deliver.curl import CurlTransport
from proxy.deliver.transport import Transport
from tests.deliver.conftest import Make
from tests.deliver.servers import OK, Server, Tunnel, listening, send, serving
from tests.deliver.test_transport import post, reason

AUTHORITY = trustme.CA()
VARIABLES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def tls(*names: str, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


@asynccontextmanager
async def serving_tls(server: Server, context: ssl.SSLContext) -> AsyncIterator[Server]:
    async with listening(server.serve, context) as port:
        server.url = f"https://127.0.0.1:{port}/track/json"
        yield server


# TLS


async def test_whom_the_authorities_of_the_file_know_is_talked_to(make: Make, ca_file: str) -> None:
    transport = make(ca_file=ca_file)
    async with serving_tls(Server(OK), tls("127.0.0.1")) as server:
        for _ in range(3):
            assert (await send(transport, post(server.url))).body == b'{"success":"1"}'
        assert server.connections == 1
        await asyncio.gather(*(send(transport, post(server.url)) for _ in range(40)))
        assert server.connections <= 4
    assert len(server.requests) == 43


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(tls("127.0.0.1", authority=trustme.CA()), id="another authority's"),
        pytest.param(tls("kochava.example"), id="another host's"),
    ],
)
async def test_nobody_else_is(make: Make, ca_file: str, context: ssl.SSLContext) -> None:
    async with serving_tls(Server(OK), context) as server:
        assert await reason(make(ca_file=ca_file), post(server.url)) == "tls_failed"
    assert not server.requests


async def test_without_a_file_the_system_says_who_is_trusted(
    make: Make, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python's ssl finds it, which this variable tells where to look."""
    async with serving_tls(Server(OK), tls("127.0.0.1")) as server:
        assert await reason(make(), post(server.url)) == "tls_failed"
        monkeypatch.setenv("SSL_CERT_FILE", ca_file)
        assert (await send(make(), post(server.url))).status == 200


async def test_with_a_file_the_system_is_not_asked(
    make: Make, ca_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with serving_tls(Server(OK), tls("127.0.0.1")) as server:
        assert await reason(make(ca_file=str(other)), post(server.url)) == "tls_failed"


# Proxies


async def test_the_environment_names_no_proxy(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    async with serving(Server(OK)) as server:
        assert (await send(transport, post(server.url))).status == 200


async def test_http_goes_through_a_proxy_with_its_password(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    async with serving(Server(OK)) as proxy:
        port = proxy.url.split(":")[2].split("/")[0]
        transport = make(proxy=f"http://user:pa%20ss@127.0.0.1:{port}")
        for _ in range(2):
            assert (await send(transport, post("http://kochava.invalid/track"))).status == 200
    assert proxy.connections == 1
    assert proxy.requests[0].startswith(b"POST http://kochava.invalid/track HTTP/1.1\r\n")
    assert proxy.header("Host") == "kochava.invalid"
    assert proxy.header("Proxy-Authorization") == "Basic dXNlcjpwYSBzcw=="


async def test_https_goes_through_a_proxy_that_sees_nothing_of_it(make: Make, ca_file: str) -> None:
    tunnel = Tunnel()
    async with (
        listening(tunnel.serve) as port,
        serving_tls(Server(OK), tls("127.0.0.1")) as server,
    ):
        transport = make(proxy=f"http://user:pass@127.0.0.1:{port}", ca_file=ca_file)
        outgoing = post(server.url, more={"Kochava-Api-Key": "secret"})
        for _ in range(2):
            assert (await send(transport, outgoing)).body == b'{"success":"1"}'
        await transport.close()
    assert server.connections == 1
    assert server.header("Kochava-Api-Key") == "secret"
    assert server.header("Proxy-Authorization") is None
    [head] = tunnel.heads
    assert head.startswith("CONNECT 127.0.0.1:")
    assert "secret" not in head
    assert "\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in head


async def test_a_proxy_that_refuses_and_one_that_is_not_there(make: Make) -> None:
    tunnel = Tunnel("407 Proxy Authentication Required")
    outgoing = post("https://127.0.0.1:9/")
    async with listening(tunnel.serve) as port:
        proxied = make(proxy=f"http://127.0.0.1:{port}")
        assert await reason(proxied, outgoing) == "not_connected"
    assert await reason(proxied, outgoing) == "not_connected"


# HTTP/2


class Http2:
    """Answers every request of a connection with status 200 and no headers, once `number` of them
    have come: frames as RFC 9113, section 4 has them.
    """

    def __init__(self, number: int) -> None:
        self.connections = 0
        self.streams = 0
        self._number = number
        self._all = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        assert await reader.readexactly(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        writer.write(_frame(4, 0, 0))  # SETTINGS
        async with asyncio.TaskGroup() as group:
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3]))
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
                if kind == 4 and not flags & 1:
                    writer.write(_frame(4, 1, 0))
                if kind in (0, 1) and flags & 1:  # END_STREAM
                    self.streams += 1
                    if self.streams == self._number:
                        self._all.set()
                    group.create_task(self._answer(writer, stream))

    async def _answer(self, writer: asyncio.StreamWriter, stream: int) -> None:
        await self._all.wait()
        writer.write(_frame(1, 4, stream, b"\x88"))  # ":status: 200" (RFC 7541, appendix A)
        writer.write(_frame(0, 1, stream, b'{"success":"1"}'))


def _frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + content


async def test_curl_sends_many_requests_at_once_over_one_connection(ca_file: str) -> None:
    context = tls("127.0.0.1")
    context.set_alpn_protocols(["h2"])
    server = Http2(number=10)
    transport = CurlTransport(5, 4, "", ca_file)
    async with listening(server.serve, context) as port:
        outgoing = post(f"https://127.0.0.1:{port}/track/json")
        replies = await asyncio.gather(*(send(transport, outgoing) for _ in range(10)))
        await transport.close()
    assert {(reply.status, reply.body) for reply in replies} == {(200, b'{"success":"1"}')}
    assert (server.streams, server.connections) == (10, 1)


async def test_curl_gives_up_a_connection_on_which_nothing_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream that times out leaves the connection to the next one, dead or not."""
    given: list[int] = []
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # of Linux alone
    really = curl._give_up_after

    def give_up_after(milliseconds: int, fd: int, purpose: int) -> int:
        answer = really(milliseconds, fd, purpose)
        with socket.socket(fileno=os.dup(fd)) as connection:
            given.append(connection.getsockopt(socket.IPPROTO_TCP, option) if option else 1_500)
        return answer

    monkeypatch.setattr(curl, "_give_up_after", give_up_after)
    transport = CurlTransport(1.5, 4)
    async with serving(Server(OK)) as server:
        assert (await send(transport, post(server.url))).status == 200
        await transport.close()
    assert given == [1_500]
