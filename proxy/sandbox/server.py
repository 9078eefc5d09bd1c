"""A stand-in for Kochava and for Segment, to try, test and measure against.

It answers as Kochava does, refuses what Kochava's pages forbid, writes down what it got, and
fails or dawdles on request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import orjson
from aiohttp import web

from proxy.clock import Chance, Clock, SystemClock, system_chance
from proxy.sandbox.firing import DELAY_SECONDS, Firing, UrlsOf
from proxy.sandbox.rules import (
    MAX_BODY,
    call_problems,
    link_problems,
    signature_problems,
    track_problems,
)
from proxy.sandbox.template import Method

TRACK_PATH = "/track/json"
LINK_PATH = "/v1/cpi/identityLink.php"


class Faults(msgspec.Struct, frozen=True):
    """What should go wrong: a share of the requests gets `status`, all of them wait."""

    latency_seconds: float = 0.0
    rate: float = 0.0
    status: int = 503


class Sandbox:
    """`start` it, point `track_url` and `identity_link_url` at it, `stop` it."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        record: Path | None = None,
        faults: Faults | None = None,
        credentials: Mapping[str, tuple[str, str]] | None = None,
        chance: Chance | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`credentials` are API key and secret by app id; those apps must sign."""
        self._host = host
        self._port = port
        self._record = record
        self._file: IO[bytes] | None = None
        self._faults = faults or Faults()
        self._credentials = credentials or {}
        self._chance = chance or system_chance()
        self._clock = clock or SystemClock()
        self._firing = Firing(self._clock)
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Begins to listen.

        Raises:
            OSError: the address is taken, or the record cannot be written.

        """
        if self._record is not None:
            self._file = self._record.open("ab", buffering=0)
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post(TRACK_PATH, self._track)
        app.router.add_post(LINK_PATH, self._link)
        app.router.add_post("/v1/{call}", self._segment)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    def fire_at(
        self, urls_of: UrlsOf, method: Method = "get", delay_seconds: float = DELAY_SECONDS
    ) -> None:
        """Every install brings a postback to each URL of its app, those that came before this was
        called as well; to be called once.
        """
        self._firing.begin(urls_of, method, delay_seconds)

    async def stop(self) -> None:
        """Stops listening and closes the record."""
        self._stopping.set()
        await self._firing.stop()
        await self._runner.cleanup()
        if self._file is not None:
            self._file.close()

    async def _track(self, request: web.Request) -> web.Response:
        raw, body = await _read(request)
        problems = track_problems(body, request.headers)
        return await self._answer(request, raw, body, problems)

    async def _link(self, request: web.Request) -> web.Response:
        raw, body = await _read(request)
        return await self._answer(request, raw, body, link_problems(body))

    async def _segment(self, request: web.Request) -> web.Response:
        raw, body = await _read(request)
        problems = call_problems(request.match_info["call"], body, request.headers)
        answer: dict[str, Any] = {"success": not problems}
        return self._write_down(request, raw, body, 400 if problems else 200, answer)

    async def _answer(
        self, request: web.Request, raw: bytes, body: Any, problems: list[str]
    ) -> web.Response:
        faults = self._faults
        if faults.latency_seconds:
            await self._clock.wait(self._stopping, faults.latency_seconds)
        if faults.rate and self._chance.random() < faults.rate:
            return self._write_down(request, raw, body, faults.status, {"error": "on request"})
        app_id = body.get("kochava_app_id") if isinstance(body, dict) else None
        credentials = self._credentials.get(app_id) if isinstance(app_id, str) else None
        problems = problems + signature_problems(raw, request.headers, credentials)
        if not problems and body.get("action") == "install":
            self._firing.installed(body)
        # Kochava's words for a failure are not published; that it answers 200 with another
        # `success` than 1 is known from its customers.
        answer = {"success": "0", "error": "; ".join(problems)} if problems else {"success": "1"}
        return self._write_down(request, raw, body, 200, answer)

    def _write_down(
        self, request: web.Request, raw: bytes, body: Any, status: int, answer: dict[str, Any]
    ) -> web.Response:
        if self._file is not None:
            line = {
                "at": self._clock.now(),
                "method": request.method,
                "path": request.path,
                "headers": {str(name): _utf8(value) for name, value in request.headers.items()},
                # On one line but as it came: decoded and encoded, numbers would not be the same.
                "body": orjson.Fragment(msgspec.json.format(raw, indent=-1))
                if body is not None
                else raw.decode("utf-8", "replace"),
                "status": status,
                "answer": answer,
            }
            self._file.write(orjson.dumps(line) + b"\n")
        return web.json_response(answer, status=status)


def _utf8(header: str) -> str:
    """Bytes that are no UTF-8 are held in headers as surrogates, which JSON cannot hold."""
    return header.encode(errors="replace").decode()


async def _read(request: web.Request) -> tuple[bytes, Any]:
    raw = await request.read()
    try:
        return raw, msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw, None
