"""Sending over real sockets, and every fault of the HTTP client as a reason."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from proxy.deliver.encode import Encoder
from proxy.deliver.signing import sign
from proxy.deliver.transport import MAX_ANSWER, AiohttpTransport
from proxy.errors import TransportError
from proxy.kochava import KochavaRequest
from proxy.states import Outgoing
from tests.support import make_config

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"success":"1"}'


class Server:
    """Answers raw bytes and counts connections; None means: never answer."""

    def __init__(self, *answers: bytes | None, close: bool = False) -> None:
        self.answers = list(answers)
        self.close = close
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    await asyncio.Event().wait()
                    return
                writer.write(answer)
                await writer.drain()
                if self.close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(server.serve(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/track/json"
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(timeout_seconds=5, max_connections=4)
    yield made
    await made.close()


def post(url: str, body: bytes = b"{}", **headers: str) -> Outgoing:
    return Outgoing("POST", url, {"Content-Type": "application/json", **headers}, body)


def kinds(class_: type[BaseException]) -> Iterator[type[BaseException]]:
    for kind in class_.__subclasses__():
        yield kind
        yield from kinds(kind)


CLIENT_ERRORS: list[type[BaseException]] = sorted(
    {*kinds(aiohttp.ClientError)}, key=lambda class_: class_.__name__
)
#: Those with a reason of their own; all others are "connection_broken".
REASONS = {
    "ClientConnectorDNSError": "name_not_resolved",
    "ClientSSLError": "tls_failed",
    "ClientConnectorSSLError": "tls_failed",
    "ClientConnectorCertificateError": "tls_failed",
    "ClientConnectorError": "not_connected",
    "ClientProxyConnectionError": "not_connected",
    "UnixClientConnectorError": "not_connected",
    "ClientPayloadError": "answer_cut_short",
    "ServerTimeoutError": "timeout",
    "ConnectionTimeoutError": "timeout",
    "SocketTimeoutError": "timeout",
    "TimeoutError": "timeout",
}


@pytest.mark.parametrize(
    "class_",
    [
        aiohttp.ClientError, *CLIENT_ERRORS,
        asyncio.TimeoutError, OSError, ConnectionResetError, BrokenPipeError,
        ssl.SSLError, ssl.SSLCertVerificationError, ValueError,
    ],
    ids=str,
)  # fmt: skip
async def test_every_error_of_the_client_becomes_a_reason(
    transport: AiohttpTransport,
    class_: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Their constructors want connections and requests that would say nothing here.
    quiet = {"__init__": lambda self: None, "__str__": lambda self: "what happened"}

    def fail(*_: object, **__: object) -> None:
        raise type(class_.__name__, (class_,), quiet)

    monkeypatch.setattr(transport._session, "request", fail)
    with pytest.raises(TransportError) as caught:
        await transport.send(post("http://127.0.0.1/"))
    assert caught.value.reason == REASONS.get(class_.__name__, "connection_broken")
    assert caught.value.detail == "what happened"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"", "connection_broken", id="closed without an answer"),
        pytest.param(b"HTTP/1.1 20", "connection_broken", id="closed within the status"),
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n\r\n", "connection_broken", id="not HTTP"),
        pytest.param(OK[:-3], "answer_cut_short", id="closed within the body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "connection_broken",
            id="no chunk",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + OK[17:],
            "answer_cut_short",
            id="not gzip",
        ),
    ],
)
async def test_an_answer_that_breaks_off_is_none(
    transport: AiohttpTransport, answer: bytes, reason: str
) -> None:
    async with serving(Server(answer, close=True)) as server:
        with pytest.raises(TransportError) as caught:
            await transport.send(post(server.url))
    assert caught.value.reason == reason


async def test_a_server_that_never_answers_is_given_up() -> None:
    transport = AiohttpTransport(timeout_seconds=0.05, max_connections=1)
    async with serving(Server(None)) as server:
        with pytest.raises(TransportError) as caught:
            await transport.send(post(server.url))
    await transport.close()
    assert caught.value.reason == "timeout"


async def test_a_closed_port_and_a_port_without_tls_are_told_apart(
    transport: AiohttpTransport,
) -> None:
    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}/track/json"
    with pytest.raises(TransportError) as caught:
        await transport.send(post(f"https://{address}"))
    assert caught.value.reason == "tls_failed"
    listening.close()
    await listening.wait_closed()
    with pytest.raises(TransportError) as caught:
        await transport.send(post(f"http://{address}"))
    assert caught.value.reason == "not_connected"


async def test_a_redirect_is_an_answer_and_is_not_followed(transport: AiohttpTransport) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with serving(Server(moved)) as server:
        reply = await transport.send(post(server.url))
    assert reply.status == 307
    assert len(server.requests) == 1


async def test_of_a_huge_answer_only_the_beginning_is_read(transport: AiohttpTransport) -> None:
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100000000\r\n\r\n"
    async with serving(Server(head + b"x" * 3 * MAX_ANSWER)) as server:
        reply = await transport.send(post(server.url))
        assert reply.status == 400
        assert MAX_ANSWER <= len(reply.body) < 2 * MAX_ANSWER + 1
        assert set(reply.body) == {ord("x")}


async def test_cookies_are_not_sent_back(transport: AiohttpTransport) -> None:
    async with serving(Server(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"))) as server:
        await transport.send(post(server.url))
        await transport.send(post(server.url))
    assert b"cookie" not in server.requests[1].lower()


async def test_one_connection_serves_many_requests_and_few_serve_many_at_once(
    transport: AiohttpTransport,
) -> None:
    async with serving(Server(OK)) as server:
        for _ in range(20):
            await transport.send(post(server.url))
        assert server.connections == 1
        await asyncio.gather(*(transport.send(post(server.url)) for _ in range(40)))
        assert server.connections <= 4
    assert len(server.requests) == 60


async def test_the_bytes_on_the_wire_are_the_bytes_that_were_signed(
    transport: AiohttpTransport,
) -> None:
    keys = {"kochava_api_key": "demo-api-key", "kochava_secret": "demo-secret"}
    request = KochavaRequest(
        action="event",
        kochava_app_id="koacme-ios",
        kochava_device_id="dev/1",
        data={"device_ua": "", "event_data": {"name": "Zoë 😀", "sum": 9.99, "whole": 10.0}},
    )
    async with serving(Server(OK)) as server:
        config = make_config(keys, kochava={"track_url": server.url})
        outgoing = Encoder(config).encode(request, "acme")
        reply = await transport.send(outgoing)
    assert (reply.status, reply.body) == (200, b'{"success":"1"}')
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert body.decode() == (
        r'{"action":"event","kochava_app_id":"koacme-ios","kochava_device_id":"dev\/1",'
        r'"data":{"device_ua":"","event_data":'
        r'{"name":"Zo\u00eb \ud83d\ude00","sum":9.99,"whole":10}}}'
    )
    token = sign(body, "demo-api-key", "demo-secret")["Kochava-Auth-Token"]
    assert lines["Kochava-Auth-Token"] == token
    assert lines["Kochava-Api-Key"] == "demo-api-key"
    assert lines["User-Agent"] == "Unknown"
    assert lines["Content-Type"] == "application/json"
