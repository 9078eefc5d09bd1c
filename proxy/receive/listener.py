"""The listening socket: TLS, and how many connections one address may hold.

aiohttp's own sites know neither a limit nor how to take a new certificate.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast

from aiohttp import web

from proxy.config import Server
from proxy.errors import ConfigError, Problem
from proxy.receive.address import TrustedProxies

#: For the headers of a request, and between two requests. Longer than the 60 s for which load
#: balancers keep idle connections, so that it is they who close first.
IDLE_SECONDS: Final = 75.0
HANDSHAKE_SECONDS: Final = 10.0
BACKLOG: Final = 1_024  # connections that wait to be accepted


async def bind(settings: Server) -> list[socket.socket]:
    """Sockets for workers to accept from: connections to them wait in one queue for whichever
    worker takes them, and outlast any of these.

    Raises:
        OSError: the address cannot be listened on.

    """
    # asyncio's own way from a name to sockets, so that one process and several are found alike.
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, settings.host, settings.port, start_serving=False
    )
    sockets = [socket.fromfd(each.fileno(), each.family, each.type) for each in server.sockets]
    server.close()
    for listening in sockets:
        listening.listen(BACKLOG)
    return sockets


class Listener:
    """Serves a runner's application on one address until closed."""

    def __init__(self, settings: Server, base: Path) -> None:
        """`base` is the folder that relative paths start from.

        Raises:
            ConfigError: the certificate or its key cannot be used.

        """
        self._settings = settings
        self._base = base
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._connections: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []
        self._tls = None
        if settings.tls_certificate:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.load_certificate()

    @property
    def port(self) -> int:
        """The port listened on, for configs that leave the choice to the system (0)."""
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def start(self, runner: web.AppRunner, sockets: Sequence[socket.socket] = ()) -> None:
        """Begins to accept, on `sockets` if they are given. `runner` is set up already.

        Raises:
            OSError: the address cannot be listened on.

        """
        server = runner.server
        assert server is not None  # it is set up
        create = partial(
            asyncio.get_running_loop().create_server,
            lambda: _Counted(server(), self._connections, self._admit),
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
            backlog=BACKLOG,
        )
        if sockets:
            self._servers = [await create(sock=each) for each in sockets]
        else:
            self._servers = [await create(self._settings.host, self._settings.port)]

    def load_certificate(self) -> None:
        """Reads the files again: connections to come use them, those there are keep the old.

        Raises:
            ConfigError: they cannot be used; the ones before stay in use.

        """
        if self._tls is None:
            return
        certificate = self._base / self._settings.tls_certificate
        key = self._base / self._settings.tls_key
        # Tried first on a context of its own: a failed load can leave half of a pair behind.
        try:
            for context in (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), self._tls):
                # Without a password OpenSSL asks the terminal for one, and waits.
                context.load_cert_chain(certificate, key, password="")
        except (OSError, ssl.SSLError) as error:
            mend = "name a PEM certificate (chain) and its unencrypted key"
            what = f"{certificate} and {key} cannot be used: {error}"
            raise ConfigError(Problem("", "server.tls_certificate", what, mend)) from None

    def close(self) -> None:
        """Stops accepting; what is connected stays so."""
        for server in self._servers:
            server.close()

    def _admit(self, address: str) -> bool:
        """Whether an address may hold one more connection."""
        limit = self._settings.max_connections_per_address
        return not limit or self._connections[address] < limit or self._proxies.trusts(address)


class _Counted(asyncio.BaseProtocol):
    """Lets a connection through to `inner`, unless its address holds too many already."""

    def __init__(
        self, inner: asyncio.Protocol, connections: Counter[str], admit: Callable[[str], bool]
    ) -> None:
        self._inner = inner
        self._connections = connections
        self._admit = admit
        self._address: str | None = None
        # What comes often goes straight through.
        self.data_received = inner.data_received
        self.eof_received = inner.eof_received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._admit(address):
            cast("asyncio.Transport", transport).abort()
            return
        self._address = address
        self._connections[address] += 1
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is None:
            return
        self._connections[self._address] -= 1
        if not self._connections[self._address]:
            del self._connections[self._address]
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
