"""Sending one request over HTTP: the seam behind which HTTP clients can be exchanged."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import aiohttp
import msgspec

from proxy.errors import TransportError
from proxy.states import Outgoing

MAX_ANSWER: Final = 64 * 1024  # bytes read of an answer; Kochava's are under a hundred
IDLE_SECONDS: Final = 60  # that a connection is kept without a request
DNS_SECONDS: Final = 60  # that an address is kept; one that is gone is noticed by its connections
EYEBALLS_SECONDS: Final = 0.25  # until IPv4 is tried beside IPv6 (RFC 8305, section 8)

#: An answer of some bytes is not worth packing, and a packed one would have to be unpacked.
PLAIN: Final = {"Accept-Encoding": "identity"}


class Reply(msgspec.Struct, frozen=True):
    """An answer, whatever it says. The headers of a 200 may be left out: they decide nothing."""

    status: int
    headers: Mapping[str, str]
    body: bytes


#: An answer, or what stood in its way: a TransportError, or another exception, a fault of ours.
Answer = Reply | BaseException


class Transport(Protocol):
    """Sends requests; keeps connections."""

    def begin(self, outgoing: Outgoing, answered: Callable[[Answer], None]) -> Callable[[], object]:
        """Sends a request. `answered` is called once, not before this has returned. What is
        returned gives the request up; after that `answered` may still come in the same turn of the
        loop, and later not at all.
        """

    async def close(self) -> None:
        """Lets the connections go."""


class TaskTransport(ABC):
    """A transport that has each request sent by a task of its own."""

    @abstractmethod
    async def send(self, outgoing: Outgoing) -> Reply:
        """The answer.

        Raises:
            TransportError: none came.

        """

    def begin(self, outgoing: Outgoing, answered: Callable[[Answer], None]) -> Callable[[], object]:
        """As `Transport`. The task lives as long as what is returned."""

        def ended(task: asyncio.Task[Reply]) -> None:
            if not task.cancelled():
                answered(task.exception() or task.result())

        task = asyncio.create_task(self.send(outgoing))
        task.add_done_callback(ended)
        return task.cancel


class AiohttpTransport(TaskTransport):
    """aiohttp's client: connections are reused, redirects are not followed (a redirected POST
    would lose its body or its secret), cookies are not kept. What the environment says of proxies
    counts for nothing.
    """

    def __init__(
        self, timeout_seconds: float, max_connections: int, proxy: str = "", ca_file: str = ""
    ) -> None:
        tls = ssl.create_default_context(cafile=ca_file or None)
        tls.set_alpn_protocols(["http/1.1"])
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=max_connections,
                keepalive_timeout=IDLE_SECONDS,
                ttl_dns_cache=DNS_SECONDS,
                happy_eyeballs_delay=EYEBALLS_SECONDS,
                ssl=tls,
            ),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=PLAIN,
            auto_decompress=False,
            proxy=proxy or None,
        )

    async def send(self, outgoing: Outgoing) -> Reply:
        try:
            async with self._session.request(
                outgoing.method,
                outgoing.url,
                headers=outgoing.headers,
                data=outgoing.body,
                allow_redirects=False,
            ) as answer:
                body = await answer.content.read(MAX_ANSWER)
                while not answer.content.at_eof() and len(body) < MAX_ANSWER:
                    body += await answer.content.read(MAX_ANSWER)
                return Reply(answer.status, answer.headers, body)
        except TimeoutError as error:
            raise TransportError("timeout", str(error)) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise TransportError("name_not_resolved", str(error)) from error
        except aiohttp.ClientSSLError as error:
            raise TransportError("tls_failed", str(error)) from error
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError) as error:
            raise TransportError("not_connected", str(error)) from error
        except aiohttp.ClientPayloadError as error:
            raise TransportError("answer_cut_short", str(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: an answer that is not HTTP can surface as one from the parser.
            raise TransportError("connection_broken", str(error)) from error

    async def close(self) -> None:
        await self._session.close()
