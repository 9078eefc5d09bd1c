"""HTTP by hand: no client library would write what is wanted here."""

from __future__ import annotations

import base64
from typing import Final

END: Final = b"\r\n"


def request(
    target: str,
    body: bytes = b"",
    *headers: bytes,
    method: bytes = b"POST",
    key: str | None = None,
    host: bytes = b"127.0.0.1",
    chunk: int = 0,
) -> bytes:
    """A whole request; in chunks of so many bytes, if that is given."""
    lines = [method + b" " + target.encode() + b" HTTP/1.1", b"Host: " + host, *headers]
    if key is not None:
        lines.append(b"Authorization: Basic " + base64.b64encode(f"{key}:".encode()))
    if chunk:
        lines.append(b"Transfer-Encoding: chunked")
        parts = [body[at : at + chunk] for at in range(0, len(body), chunk)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))
    elif method != b"GET":
        lines.append(b"Content-Length: %d" % len(body))
    return END.join((*lines, b"", body))


def chunked_head(target: str, key: str) -> bytes:
    """All of a request in chunks but its chunks."""
    return request(target, key=key, chunk=1).removesuffix(b"0\r\n\r\n")


def with_head(data: bytes, *lines: bytes) -> bytes:
    """With more lines behind the first."""
    start, _, rest = data.partition(END)
    return END.join((start, *lines, rest))


def with_start(data: bytes, start: bytes) -> bytes:
    """With another first line."""
    return start + END + data.partition(END)[2]


HEADERS: Final[tuple[bytes, ...]] = (
    b"X: " + b"a" * 9_000, b"X" * 9_000 + b": a", END.join([b"X: a"] * 200),
    END.join([b"X: " + b"a" * 4_000] * 20), b"X : a", b": a", b"X", b" X: a", b"X: a\r\n b",
    b"X: \x00", b"X\x00: a", b"X: \xff\xfe", b"\xff: a", b"X: a\rb", b"X: a\nY: b", b"Host: other",
    b"Host:", b"Connection: close", b"Connection: keep-alive, upgrade", b"Connection: \xff",
    b"Upgrade: websocket\r\nConnection: Upgrade", b"Upgrade: h2c\r\nConnection: Upgrade",
    b"Authorization: Basic", b"Authorization: Basic ////", b"Authorization: Basic \xff",
    b"Authorization: Basic " + base64.b64encode(b"\xff:"), b"Authorization: Bearer x",
    b"Authorization: " + b"A" * 8_000, b"X-Forwarded-For: " + b"1.2.3.4, " * 500,
    b"X-Forwarded-For: \xff", b"X-Forwarded-Host: \xff\r\nX-Forwarded-Proto: \xff",
    b"Content-Type: \xff", b"Content-Type: multipart/form-data", b"Cookie: \xff=\xff",
    b"Content-Type: application/json; charset=utf-16", b"Content-Encoding: gzip",
    b"Content-Encoding: deflate", b"Origin: \xed\xa0\x80", b"Origin: ", b"Range: bytes=0-",
    b"If-Modified-Since: never", b"Accept-Encoding: \xff", b"Sec-WebSocket-Key: x",
)  # fmt: skip

LENGTHS: Final[tuple[bytes, ...]] = (
    b"Content-Length: 0", b"Content-Length: 1", b"Content-Length: -1", b"Content-Length: +5",
    b"Content-Length: 0x10", b"Content-Length: 5, 5", b"Content-Length: 99999999999999999999999",
    b"Content-Length: 1 1", b"Content-Length:", b"Content-Length: \xb2", b"Content-Length : 5",
    b"Content-Length: 3\r\nContent-Length: 3", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding : chunked", b"X: a\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: CHUNKED", b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding:\r\n chunked",
)  # fmt: skip

EXPECTATIONS: Final[tuple[bytes, ...]] = (
    b"Expect: 100-continue", b"Expect: 100-Continue", b"Expect: 200-ok", b"Expect: ",
    b"Expect: \xff", b"Expect: 100-continue, 100-continue", b"Expect: x\r\nExpect: y",
)  # fmt: skip

CHUNKS: Final[tuple[bytes, ...]] = (
    b"5\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n0\r\n\r\n", b"zz\r\n", b"ffffffffffffffffffff\r\n{}",
    b"2;" + b"a" * 9_000 + b"\r\n{}\r\n0\r\n\r\n", b"2;a=\x00\r\n{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n",
    b"2 \r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b"+2\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}XX0\r\n\r\n", b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n", b"\r\n\r\n",
    b"2\r\n{}\r\n", b"2\r\n{}\r\n0\r\n" + b"X: a\r\n" * 500 + b"\r\n", b"2\r\n{}\r\n0\r\nX\r\n\r\n",
    b"2\r\n{}\r\n00000000000000000000000000000\r\n\r\n",
    b"2\r\n{}\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"userId":"u","event":"e"}') + b"0\r\n\r\n",
    b"1\r\n[\r\n" * 3_000 + b"0\r\n\r\n",
)  # fmt: skip

STARTS: Final[tuple[bytes, ...]] = (
    b"POST /v1/track HTTP/1.0", b"POST /v1/track HTTP/0.9", b"POST /v1/track HTTP/1.2",
    b"POST /v1/track HTTP/2.0", b"POST /v1/track HTTP/11", b"POST /v1/track",
    b"post /v1/track HTTP/1.1",
    b"TRACE /v1/track HTTP/1.1", b"CONNECT 127.0.0.1:1 HTTP/1.1", b"HEAD /v1/track HTTP/1.1",
    b"PROPFIND /v1/track HTTP/1.1", b"PRI /v1/track HTTP/1.1", b"X" * 9_000 + b" / HTTP/1.1",
    b"P\xffST /v1/track HTTP/1.1", b"HEAD /health/live HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"POST http://other.example/v1/track HTTP/1.1", b"POST //v1/track HTTP/1.1",
    b"POST http://[::1/v1/track HTTP/1.1", b"POST http://a:99999/v1/track HTTP/1.1",
    b"POST /v1/track#fragment HTTP/1.1", b"POST /v1/\xff HTTP/1.1", b"POST /v1/\x00 HTTP/1.1",
    b"POST /v1/track?\xff=\xed\xa0\x80 HTTP/1.1", b"POST /v1/track?writeKey=\xff HTTP/1.1",
    b"GET /v1/pixel/track?userId=\xff\xfe HTTP/1.1", b"GET /v1/t?callback=\xff HTTP/1.1",
    b"GET /v1/t?userId=\xed\xa0\x80&event=\xff&writeKey=wk_chaos HTTP/1.1",
    b"GET /v1/projects/\xff/settings HTTP/1.1", b"PUT /webhooks/segment/\xff HTTP/1.1",
    b"GET /v1/t?" + b"a" * 9_000 + b" HTTP/1.1", b"GET /v1/t?" + b"a=&" * 2_500 + b" HTTP/1.1",
    b"POST  /v1/track  HTTP/1.1", b" POST /v1/track HTTP/1.1", b"POST\t/v1/track\tHTTP/1.1",
    b"POST * HTTP/1.1", b"POST ? HTTP/1.1", b"POST v1/track HTTP/1.1", b"POST http:// HTTP/1.1",
)  # fmt: skip

NOISE: Final[tuple[bytes, ...]] = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS begins so
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30),
    b"\r\n" * 1_000, b"\n", b"\x00" * 5_000, b"GET\r\n\r\n", b"EHLO a\r\n", b"SSH-2.0-x\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    b"A" * 20_000,
)  # fmt: skip
