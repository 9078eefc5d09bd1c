"""What every way in has in common: read within limits, keep on the disk, and only then return."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from proxy.clock import Clock
from proxy.config import Config
from proxy.errors import RequestRefused
from proxy.receive.address import TrustedProxies
from proxy.receive.body import read_body
from proxy.receive.credentials import Keys, key_from_header
from proxy.receive.intake import Intake, new_message_id, read_message, take_message
from proxy.receive.pressure import HighWater, Rates
from proxy.receive.slices import Turns
from proxy.spool.base import Spool

#: For a whole body. Half a megabyte over a mobile network at its worst takes half of it.
BODY_SECONDS: Final = 60.0
#: Events kept at once: those of a large batch must not keep those of others waiting for long.
PIECE: Final = 32


class Door:
    """The clients' side of the spool. No plugin runs here."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        clock: Clock,
        new_id: Callable[[], str] = new_message_id,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self.keys = Keys((key, each.name) for each in config.sources for key in each.write_keys)
        self.proxies = TrustedProxies(config.server.trusted_proxies)
        self.clock = clock
        self.new_id = new_id
        self.turns = Turns(clock)
        self._spool = spool
        self._high_water = HighWater(config.spool, spool.usage, clock)
        self._rates = Rates({each.name: each.rate_limit for each in config.sources}, clock)
        self._body_seconds = body_seconds

    async def read(self, request: web.Request, limit: int) -> bytes:
        """The body, if there is room for what it brings.

        Raises:
            RequestRefused: 400, 429 or, for a sender that is too slow, 503.

        """
        self._high_water.check()
        return await self.body(request, limit)

    async def body(self, request: web.Request, limit: int) -> bytes:
        """As `read`, whether there is room or not."""
        if request.content.is_eof():  # it came with its headers, as most do: nothing to wait for
            return await read_body(request, limit)
        try:
            async with asyncio.timeout(self._body_seconds):
                return await read_body(request, limit)
        except TimeoutError:
            # Not 408: mobile SDKs drop their data on it (docs/clients.md, "Answers").
            what = f"the body did not come within {self._body_seconds:.0f} s"
            raise RequestRefused(503, "body_too_slow", what) from None

    async def keep_message(self, request: web.Request, type_: str, body: bytes) -> None:
        """As `keep`, for the one message that a request brings; `type_` is what its path names.

        Raises:
            RequestRefused: also 400, this is no message, and 401, nobody has its key.

        """
        raw, key = read_message(body)
        source = self.keys.find(*self.given_keys(request, key))
        now, address = self.clock.now(), self.address(request)
        self.turns.short()
        await self.keep(source, take_message(raw, type_, source, now, address, self.new_id))

    def given_keys(self, request: web.Request, in_body: str | None) -> tuple[str | None, ...]:
        """The write keys that a request names, the one that counts first."""
        header = key_from_header(request.headers.get("Authorization"))
        return header, in_body, request.query.get("writeKey")

    async def keep(self, source: str, intake: Intake) -> None:
        """As `keep_all`, from one source."""
        self._rates.take({source: intake.messages})
        await self.keep_always(source, intake)

    async def keep_all(self, parts: Sequence[tuple[str, Intake]]) -> None:
        """Returns when all of it is on the disk. Each source comes once.

        Raises:
            RequestRefused: 429, a source sends too fast; nothing was kept.
            StorageError: not all was kept; the client must try again with all of it. What was kept
                is known by its message ids.

        """
        self._rates.take({source: intake.messages for source, intake in parts})
        for source, intake in parts:
            await self.keep_always(source, intake)

    async def keep_always(self, source: str, intake: Intake) -> None:
        """As `keep`, however fast the source sends.

        Raises:
            StorageError: not all was kept.

        """
        await self._spool.append(source, intake.events[:PIECE], intake.rejected)
        for at in range(PIECE, len(intake.events), PIECE):
            await self.turns.breathe()
            await self._spool.append(source, intake.events[at : at + PIECE], {})

    def room(self) -> None:
        """Returns if there is room for messages that do not come in a body; raises as `read`."""
        self._high_water.check()

    def address(self, request: web.Request) -> str | None:
        """Where the request comes from, through trusted proxies."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return self.proxies.client(request.remote, forwarded)
