"""Hostile requests over every way in, as the bytes that go over the wire; the same for one seed."""

from __future__ import annotations

import base64
import gzip
import random
import zlib
from collections.abc import Callable
from typing import Final
from urllib.parse import quote_from_bytes

import msgspec

from tests.hostile import wire
from tests.hostile.messages import BODIES, CALLS, VALUES, Messages, good

KEY: Final = "wk_acme"  # every message that is acknowledged for it is counted here too
CHAOS_KEY: Final = "wk_chaos"  # for requests of which nobody can say how many messages they hold
TOKEN: Final = "hook"  # the webhook of the first source
POSTBACK_TOKEN: Final = "back"  # the postbacks of the second

_BOMB: Final = gzip.compress(bytes(10_000_000), mtime=0)
_ZIPPED: Final = gzip.compress(good("chaos"), mtime=0)
_SINGLES: Final = [
    f"{prefix}/{name}{end}"
    for name in (*CALLS, *sorted({call[0] for call in CALLS}))
    for prefix in ("/v1", "")
    for end in ("", "/")
]
_BATCHES: Final = [f"/v1/{name}" for name in ("batch", "import", "import/", "b")] + ["/b/"]
_HOOK: Final = f"/webhooks/segment/{TOKEN}"

_GOOD: Final[tuple[bytes, ...]] = (
    wire.request("/v1/track", good("chaos"), key=CHAOS_KEY),
    wire.request("/v1/b", b'{"batch":[' + good("chaos") + b"]}", key=CHAOS_KEY),
    wire.request("/v1/t", good("chaos"), key=CHAOS_KEY, chunk=40),
    wire.request("/v1/t", _ZIPPED, b"Content-Encoding: gzip", key=CHAOS_KEY),
    wire.request(f"/v1/pixel/track?writeKey={CHAOS_KEY}&userId=u", method=b"GET"),
)


class Attempt(msgspec.Struct, frozen=True):
    """What to write, and what may be said of the answers."""

    kind: str
    data: bytes
    answers: int = 1
    #: Of the first source: how many messages each answer 200 acknowledges. None: anybody's guess.
    messages: int | None = None
    planted: tuple[str, ...] = ()
    #: A good message is in it, so nothing but a 200 will do.
    must_pass: bool = False
    #: The framing is sound: the connection may be used again.
    framed: bool = True
    #: Go away at once, without reading an answer.
    leave: bool = False
    pieces: int = 1


class Hostile:
    """An endless supply."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._messages = Messages(self._chance)
        self._seed = seed
        self._planted = 0
        makers: dict[Callable[[], Attempt], int] = {
            self._neighbours: 20, self._single: 14, self._no_json: 8, self._zipped: 8,
            self._keyed_each: 5, self._pixel: 6, self._jsonp: 6, self._settings: 3,
            self._preflight: 3, self._elsewhere: 3, self._pipelined: 3, self._head: 12,
            self._smuggled: 8, self._chunks: 5, self._cut: 4, self._noise: 4, self._mutant: 14,
            self._expecting: 2, self._postback: 6,
        }  # fmt: skip
        self._makers = list(makers)
        self._weights = list(makers.values())

    def next(self) -> Attempt:
        (maker,) = self._chance.choices(self._makers, self._weights)
        return maker()

    def _plant(self) -> str:
        self._planted += 1
        return f"good-{self._seed}-{self._planted}"

    def _pick(self, choices: tuple[bytes, ...]) -> bytes:
        return self._chance.choice(choices)

    # Sound HTTP around hostile content.

    def _neighbours(self) -> Attempt:
        """Good messages in a batch with hostile ones: none of those may cost a good one."""
        items = [self._messages.one() for _ in range(self._chance.randint(1, 6))]
        ids = tuple(self._plant() for _ in range(self._chance.randint(1, 2)))
        for id_ in ids:
            items.insert(self._chance.randint(0, len(items)), good(id_))
        array = b"[" + b",".join(items) + b"]"
        if self._chance.random() < 0.3:
            method = self._pick((b"POST", b"PUT", b"PATCH"))
            data = wire.request(_HOOK, array, method=method)
            return Attempt("webhook", data, 1, len(items), ids, must_pass=True)
        beside = self._pick((b'"sentAt"', b'"context"', b'"integrations"', b'"extra"'))
        value = self._pick(VALUES)
        if beside == b'"integrations"':
            value = b'{"All":true}'  # anything else may filter what is good
        elif beside == b'"context"':
            value = b'{"direct":true}'
        body = b'{"batch":' + array + b"," + beside + b":" + value + b"}"
        zipped = self._chance.random() < 0.3
        data = wire.request(
            self._chance.choice(_BATCHES),
            gzip.compress(body, 1, mtime=0) if zipped else body,
            *([b"Content-Encoding: gzip"] if zipped else []),
            key=KEY,
            chunk=self._chance.choice((0, 0, 0, 1_000)),
        )
        pieces = self._chance.choice((1, 1, 1, 3))
        return Attempt("batch", data, 1, len(items), ids, must_pass=True, pieces=pieces)

    def _keyed_each(self) -> Attempt:
        """No key but in the messages, of which some name none, or one that nobody knows."""
        id_ = self._plant()
        first = good(id_)[:-1] + f',"writeKey":"{KEY}"}}'.encode()
        items = [first, *(self._messages.one() for _ in range(self._chance.randint(1, 4)))]
        self._chance.shuffle(items)
        body = b'{"batch":[' + b",".join(items) + b"]}"
        data = wire.request(self._chance.choice(_BATCHES), body)
        return Attempt("keys", data, 1, len(items), (id_,), must_pass=True)

    def _single(self) -> Attempt:
        data = wire.request(self._chance.choice(_SINGLES), self._messages.object(), key=KEY)
        return Attempt("single", data, messages=1)

    def _no_json(self) -> Attempt:
        path = self._chance.choice((*_SINGLES, *_BATCHES, "/v1/m", _HOOK))
        key = None if path == _HOOK else CHAOS_KEY
        messages = 1 if path == _HOOK else None
        return Attempt("no json", wire.request(path, self._pick(BODIES), key=key), 1, messages)

    def _zipped(self) -> Attempt:
        whole = gzip.compress(b'{"userId":"u-1","event":"e","batch":[]}', mtime=0)
        body = self._pick((
            whole[: self._chance.randrange(len(whole))], whole[:-8] + bytes(8), whole + whole,
            whole + bytes(50_000), _BOMB, _BOMB[:1_000], gzip.compress(whole, mtime=0), b"{}",
            whole[:3] + b"\xff" + whole[4:], zlib.compress(b"{}"), b"\x1f\x8b", b"",
        ))  # fmt: skip
        encoding = self._pick((
            b"gzip", b"gzip", b"gzip", b"GZIP", b"x-gzip", b" gzip ", b"deflate", b"br", b"zstd",
            b"gzip, gzip", b"identity", b"", b"*", b"\xff", b"g" * 500,
        ))  # fmt: skip
        path = self._chance.choice((*_SINGLES, *_BATCHES, "/v1/m"))
        header = b"Content-Encoding: " + encoding
        return Attempt("zipped", wire.request(path, body, header, key=CHAOS_KEY))

    # Calls by GET.

    def _query(self) -> str:
        raw = self._chance.choice((self._messages.one(), self._pick(BODIES), b"\xff\xfe\x00"))
        encoded = self._chance.choice((base64.b64encode, base64.urlsafe_b64encode))(raw[:4_000])
        dotted = (
            "a." * 30 + "b", "properties.a", "properties", "userId", "event", "%FF", "%ED%A0%80",
            "%00", "context.device.id", "", ".", "..", "data.x", "callback[]",
        )  # fmt: skip
        parts = "&".join(
            f"{self._chance.choice(dotted)}={quote_from_bytes(self._pick(VALUES)[:200])}"
            for _ in range(self._chance.randint(0, 6))
        )
        data = self._chance.choice(
            (encoded.decode(), encoded.decode().rstrip("="), "%%%", "%C3%A9", "=")
        )
        return self._chance.choice((f"data={data}", f"data={data}&{parts}", parts))

    def _pixel(self) -> Attempt:
        target = f"/v1/pixel/{self._chance.choice(CALLS)}?writeKey={CHAOS_KEY}&{self._query()}"
        return Attempt("pixel", wire.request(target, method=b"GET"))

    def _jsonp(self) -> Attempt:
        callback = self._chance.choice(
            ("__jp0", "a.b", "alert(1)", "", "%0d%0aX:1", "%FF", "x" * 65, "%3Cscript%3E", "%C3%A9")
        )
        path = self._chance.choice(_SINGLES)
        target = f"{path}?{self._query()}&writeKey={KEY}&callback={callback}"
        # A query may hold a writeKey of its own in its data, but never another that is known.
        return Attempt("jsonp", wire.request(target, method=b"GET"), messages=1)

    def _postback(self) -> Attempt:
        token = self._chance.choice((*[POSTBACK_TOKEN] * 4, TOKEN, "", "%FF", "%2F", "x" * 3_000))
        target = f"/postbacks/kochava/{token}?{self._query()}"
        if self._chance.random() < 0.5:
            return Attempt("postback", wire.request(target, method=b"GET"))
        given = b"&".join(
            self._pick((b"idfa", b"kochava_id", b"event_name", b"%FF", b"a[b]", b"", b'"', b"\xff"))
            + b"="
            + self._pick(VALUES)[:200]
            for _ in range(self._chance.choice((1, 3, 1_200)))
        )
        body = self._pick(
            (given, self._messages.one(), self._messages.object(), self._pick(BODIES))
        )
        kind = self._pick((b"application/json", b"application/x-www-form-urlencoded", b"\xff", b""))
        return Attempt("postback", wire.request(target, body, b"Content-Type: " + kind))

    def _settings(self) -> Attempt:
        key = self._chance.choice(
            (KEY, "none", "%FF", "%00", "%2F", "..", "x" * 3_000, "%ED%A0%80")
        )
        host = self._pick(
            (b"a", b"", b"\xff\xfe", b"a b", b"[::1", b"x" * 4_000, b'"<script>', b"@")
        )
        target = f"{self._chance.choice(('/v1', ''))}/projects/{key}/settings"
        return Attempt("settings", wire.request(target, method=b"GET", host=host), framed=False)

    def _preflight(self) -> Attempt:
        origin = self._pick((b"null", b"https://a.example", b"\xff", b"\xed\xa0\x80", b"a" * 4_000))
        path = self._chance.choice((*_SINGLES, *_BATCHES, "/nowhere"))
        headers = (b"Origin: " + origin, b"Access-Control-Request-Method: POST")
        method = self._pick((b"OPTIONS", b"OPTIONS", b"POST", b"GET"))
        return Attempt("origin", wire.request(path, b"{}", *headers, method=method), framed=False)

    def _elsewhere(self) -> Attempt:
        path = self._chance.choice((
            "/", "//", "/v1", "/v1/", "/v1/nothing", "/health/live", "/health/ready",
            "/webhooks/segment/", "/webhooks/segment/%FF", "/webhooks/segment/none", "/../etc",
            "/openapi.json",
            "/v1/%74rack", "/v1/track/../track", "/V1/TRACK", "/v1/track%00", "/v1/track;a=b",
            "/postbacks/kochava/x", "/metrics", "/v1/track?" + "a=b&" * 1_500, "/" + "%41" * 2_000,
        ))  # fmt: skip
        method = self._pick((b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))
        body = b"" if method == b"GET" else b"{}"
        return Attempt("elsewhere", wire.request(path, body, method=method, key=CHAOS_KEY))

    # Hostile HTTP.

    def _pipelined(self) -> Attempt:
        ids = tuple(self._plant() for _ in range(self._chance.randint(2, 20)))
        data = b"".join(wire.request("/v1/track", good(id_), key=KEY) for id_ in ids)
        pieces = self._chance.choice((1, 1, 7))
        return Attempt("pipelined", data, len(ids), 1, ids, must_pass=True, pieces=pieces)

    def _good_request(self) -> bytes:
        return self._pick(_GOOD)

    def _head(self) -> Attempt:
        data = wire.with_head(self._good_request(), self._pick(wire.HEADERS))
        if self._chance.random() < 0.4:
            data = wire.with_start(data, self._pick(wire.STARTS))
        return Attempt("head", data, framed=False)

    def _smuggled(self) -> Attempt:
        data = wire.with_head(self._good_request(), self._pick(wire.LENGTHS))
        return Attempt("lengths", data + self._good_request(), framed=False)

    def _chunks(self) -> Attempt:
        head = wire.chunked_head("/v1/track", CHAOS_KEY)
        return Attempt("chunks", head + self._pick(wire.CHUNKS), framed=False)

    def _expecting(self) -> Attempt:
        data = wire.with_head(self._good_request(), self._pick(wire.EXPECTATIONS))
        return Attempt("expect", data, framed=False)

    def _cut(self) -> Attempt:
        """The client goes away in the middle, or before the answer."""
        data = self._good_request()
        return Attempt("cut", data[: self._chance.randint(1, len(data))], framed=False, leave=True)

    def _noise(self) -> Attempt:
        data = self._pick((self._chance.randbytes(self._chance.randint(1, 2_000)), *wire.NOISE))
        return Attempt("noise", data, framed=False)

    def _mutant(self) -> Attempt:
        """A good request, damaged in a few places."""
        data = bytearray(self._good_request())
        for _ in range(self._chance.randint(1, 6)):
            at = self._chance.randrange(len(data))
            piece = self._pick((
                b"", b"\x00", b"\r", b"\n", b"\r\n", b" ", b":", b"\xff", b"%", b"9" * 20, b"{",
                b'"',
                self._chance.randbytes(1), bytes(data[at : at + 30]),
            ))  # fmt: skip
            data[at : at + self._chance.choice((0, 1, 1, 8))] = piece
            data = data or bytearray(b" ")
        return Attempt("mutant", bytes(data), framed=False)
