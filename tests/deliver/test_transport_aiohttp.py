"""Every exception of aiohttp's as a reason."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from proxy.deliver.transport import AiohttpTransport
from proxy.errors import TransportError
from proxy.states import Outgoing


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(timeout_seconds=5, max_connections=4)
    yield made
    await made.close()


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
    "ClientHttpProxyError": "not_connected",
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
        await transport.send(Outgoing("POST", "http://127.0.0.1/", {}, b"{}"))
    assert caught.value.reason == REASONS.get(class_.__name__, "connection_broken")
    assert caught.value.detail == "what happened"
