"""libcurl as the client: less than a third of the CPU that aiohttp's takes, and HTTP/2.

Optional, since pycurl brings a libcurl of its own: `[delivery] transport = "curl"`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import pycurl

from proxy.deliver.multi import DONE, Multi
from proxy.deliver.transport import (
    DNS_SECONDS,
    EYEBALLS_SECONDS,
    IDLE_SECONDS,
    MAX_ANSWER,
    PLAIN,
    Answer,
    Reply,
)
from proxy.errors import TransportError
from proxy.states import Outgoing

# Of libcurl, but without a name in pycurl (curl.h): both are numbers, which never change.
_HAPPY_EYEBALLS_TIMEOUT_MS: Final = 271
_QUICK_EXIT: Final = 322

_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"  # what a URL may hold as it is (RFC 3986, section 2)
_BREAK: Final = re.compile(r"[\r\n\0]")

_TLS: Final = dict.fromkeys(
    (
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_ISSUER_ERROR,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_INVALIDCERTSTATUS,
    ),
    "tls_failed",
)
#: All others are "connection_broken". https://curl.se/libcurl/c/libcurl-errors.html
_REASONS: Final = _TLS | {
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_COULDNT_RESOLVE_HOST: "name_not_resolved",
    pycurl.E_COULDNT_RESOLVE_PROXY: "not_connected",  # as aiohttp has it
    pycurl.E_COULDNT_CONNECT: "not_connected",
    pycurl.E_PARTIAL_FILE: "answer_cut_short",
}


class CurlTransport:
    """libcurl's client, with the same ways as aiohttp's."""

    def __init__(
        self, timeout_seconds: float, max_connections: int, proxy: str = "", ca_file: str = ""
    ) -> None:
        self._options = _options(timeout_seconds, proxy, ca_file)
        self._multi = Multi(max_connections)
        self._free: list[_Easy] = []

    def begin(self, outgoing: Outgoing, answered: Callable[[Answer], None]) -> Callable[[], object]:
        easy = self._free.pop() if self._free else _Easy(self._options)

        def ended(code: int, detail: str) -> None:
            answer = easy.answer(code, detail)
            self._free.append(easy)
            answered(answer)

        def give_up() -> None:
            self._multi.give_up(easy.curl)
            self._free.append(easy)

        try:
            easy.ask(outgoing)
            self._multi.begin(easy.curl, ended)
        except Exception as error:  # noqa: BLE001  answered as whatever else goes wrong
            self._free.append(easy)
            return asyncio.get_running_loop().call_soon(answered, error).cancel
        return give_up

    async def close(self) -> None:
        self._multi.close()
        for easy in self._free:
            easy.curl.close()


class _Easy:
    """One request at a time: an "easy handle", which keeps its options from one to the next."""

    def __init__(self, options: Mapping[int, Any]) -> None:
        self.curl = pycurl.Curl()
        self._target = ("", "")
        self._headers: dict[str, str] = {}
        self._lines: list[bytes] = []
        self._body = b""
        for option, value in options.items():
            if value is None:
                self.curl.unsetopt(option)
            else:
                self.curl.setopt(option, value)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._write)

    def ask(self, outgoing: Outgoing) -> None:
        """Makes it ready to be performed."""
        curl, target = self.curl, (outgoing.method, outgoing.url)
        if target != self._target:
            curl.setopt(pycurl.CUSTOMREQUEST, outgoing.method)
            curl.setopt(pycurl.URL, quote(outgoing.url, safe=_SAFE))
            self._target = target
        if outgoing.headers != self._headers:
            curl.setopt(pycurl.HTTPHEADER, _lines(outgoing.headers))
            self._headers = outgoing.headers
        curl.setopt(pycurl.POSTFIELDS, outgoing.body)  # libcurl copies it
        self._lines.clear()
        self._body = b""

    def answer(self, code: int, detail: str) -> Answer:
        """The reply, or why there is none."""
        enough = code == pycurl.E_WRITE_ERROR and len(self._body) >= MAX_ANSWER
        if code != DONE and not enough:
            refused = self.curl.getinfo(pycurl.HTTP_CONNECTCODE) >= 300  # by a proxy
            reason = "not_connected" if refused else _REASONS.get(code, "connection_broken")
            return TransportError(reason, detail)
        if not self._body and (not self._lines or self._lines[-1].strip()):
            # A connection that is closed within the headers is an answer to libcurl.
            return TransportError("connection_broken", "closed within the headers")
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        headers = {} if status == 200 else _headers(self._lines)
        return Reply(status, headers, self._body)

    def _write(self, data: bytes) -> int:
        self._body += data
        return len(data) if len(self._body) < MAX_ANSWER else 0  # ends it, with E_WRITE_ERROR


def _options(timeout_seconds: float, proxy: str, ca_file: str) -> dict[int, Any]:
    """Of every request; None: libcurl's own default is taken away.

    pycurl's libcurl looks for authorities where its builder had them. They are those of Python's
    ssl instead, which aiohttp trusts too.
    """
    system = ssl.get_default_verify_paths()
    milliseconds = max(1, round(timeout_seconds * 1_000))
    return {
        pycurl.TIMEOUT_MS: milliseconds,
        pycurl.NOSIGNAL: 1,
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
        pycurl.PIPEWAIT: 1,  # rather one more stream of a connection than one more connection
        pycurl.FOLLOWLOCATION: 0,
        pycurl.TCP_NODELAY: 1,
        pycurl.TCP_KEEPALIVE: 1,
        pycurl.TCP_KEEPIDLE: round(timeout_seconds) + 1,
        pycurl.TCP_KEEPINTVL: round(timeout_seconds) + 1,
        pycurl.SOCKOPTFUNCTION: partial(_give_up_after, milliseconds),
        pycurl.MAXAGE_CONN: IDLE_SECONDS,
        pycurl.DNS_CACHE_TIMEOUT: DNS_SECONDS,
        _HAPPY_EYEBALLS_TIMEOUT_MS: round(EYEBALLS_SECONDS * 1_000),
        _QUICK_EXIT: 1,  # else some versions wait for a name server when a request is given up
        pycurl.PROXY: proxy,  # "": none, whatever the environment says
        pycurl.NOPROXY: "",
        pycurl.CAINFO: ca_file or system.cafile,
        pycurl.CAPATH: None if ca_file else system.capath,
    }


def _give_up_after(milliseconds: int, fd: int, _purpose: int) -> int:
    """Has a connection ended on which nothing is acknowledged any more. A request of HTTP/2 that
    times out ends its stream and not its connection, which the next one would get again.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; tcp(7)
        with socket.socket(fileno=fd) as borrowed:
            borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            borrowed.detach()
    return int(pycurl.SOCKOPT_OK)


def _lines(headers: dict[str, str]) -> list[bytes]:
    """Headers as libcurl takes them: "Name;" is one without a value, "Name:" one that is not
    sent. A line break would begin a header of its own.
    """
    named = (PLAIN | headers).items()
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in named]
    if any(_BREAK.search(line) for line in lines):
        raise TransportError("connection_broken", "a header holds a line break")
    return [line.encode() for line in (*lines, "Expect:")]


def _headers(lines: list[bytes]) -> dict[str, str]:
    """The headers of the last of several answers: 100 (Continue) comes before it, and that of a
    proxy. Of those with the same name the first, as aiohttp's mapping has it.
    """
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            found.clear()
            continue
        name, colon, value = line.decode("utf-8", "surrogateescape").partition(":")
        if colon:
            found.setdefault(name, value.strip())
    return found
