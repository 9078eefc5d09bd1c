"""Reading a request's body, inflated and bounded."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from aiohttp import web

from proxy.errors import RequestRefused

_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's way to ask for a gzip header and checksum
_MAGIC: Final = b"\x1f\x8b"
_SLICE: Final = 256 * 1024  # bytes that are inflated in a fraction of a millisecond
_MAX_STREAMS: Final = 1_000  # of one body: empty ones cost time and bring nothing


async def read_body(request: web.Request, limit: int) -> bytes:
    """The body as sent before compression, at most `limit` bytes of it.

    The server must not inflate by itself (`auto_decompress=False`), so that a bomb is stopped at
    the limit. Raises RequestRefused with 400: Segment answers so to what is too large, and SDKs
    give such a batch up.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return await _read_plain(request, limit)
    if encoding in ("gzip", "x-gzip"):
        return await _read_gzip(request, limit)
    raise RequestRefused(
        400, "unsupported_encoding", f"Content-Encoding {encoding[:40]!r}: only gzip is understood"
    )


async def _read_plain(request: web.Request, limit: int) -> bytes:
    if request.content.is_eof():  # all of it is here, as mostly
        body = request.content.read_nowait()
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts = bytearray()
    async for part in request.content.iter_any():
        parts += part
        if len(parts) > limit:
            raise _too_large(limit)
    return bytes(parts)


async def _read_gzip(request: web.Request, limit: int) -> bytes:
    """Several streams one after the other are read as one (RFC 1952, section 2.2); what is no
    stream behind them is ignored, as gzip itself does.
    """
    inflater = zlib.decompressobj(_GZIP)
    parts = bytearray()
    streams, sent, rest = 1, 0, b""
    try:
        async for part in request.content.iter_any():
            sent += len(part)
            if sent > 2 * limit:  # no client's gzip makes anything longer
                raise _too_large(limit)
            rest += part
            while rest and (not inflater.eof or rest.startswith(_MAGIC)):
                if inflater.eof:
                    inflater = zlib.decompressobj(_GZIP)
                    streams += 1
                parts += inflater.decompress(rest, min(limit + 1 - len(parts), _SLICE))
                if len(parts) > limit or streams > _MAX_STREAMS:
                    raise _too_large(limit)
                rest = inflater.unconsumed_tail or inflater.unused_data
                if inflater.unconsumed_tail:
                    await asyncio.sleep(0)  # others' turn
            rest = rest[: len(_MAGIC)]
    except zlib.error as error:
        raise RequestRefused(400, "bad_request", f"the body is not gzip: {error}") from None
    if not inflater.eof:
        raise RequestRefused(400, "bad_request", "the gzip body ends too early")
    return bytes(parts)


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(400, "payload_too_large", f"more than {limit} bytes")
