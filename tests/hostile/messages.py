"""Messages, good and hostile, as the bytes of JSON that a client may write."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

CALLS = ("track", "identify", "page", "screen", "group", "alias")

#: Values that stand where another type, or a smaller one, is expected. All of them are valid JSON.
VALUES: tuple[bytes, ...] = (
    b"null", b"true", b"0", b"-1", b"-0.0", b"1e999", b"-1e999", b"1e-999", b"9" * 400,
    b"0." + b"3" * 400, b"9223372036854775808", b'""', b'" "', b'"\\u0000"', b'"\\ud800"',
    b'"\\udfff\\ud800"', b'"\\ud83d\\ude00"', b'"' + "\u202e\ufeff".encode() + b'"',
    b'"a\\nb\\r\\n\\tc"', b'"0.0.0.0"', b'"NaN"', b'"$1,299.00"', b'"' + b"x" * 3_000 + b'"', b"[]",
    b"{}", b"[null]", b'[{"a":[{}]}]', b'{"":{"":""}}', b'{"__proto__":{"a":1}}',
    b'{"a":1,"a":2}', b'"2024-05-03T19:42:50.066179717Z"', b'"0000-00-00T99:99:99+99:99"',
    b'"9999-12-31T23:59:59-12:00"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b"[" * 150 + b"]" * 150,
)  # fmt: skip

#: Bodies that are no JSON, or not the JSON that is asked for.
BODIES: tuple[bytes, ...] = (
    b"", b" ", b"\x00", b"null", b"1", b'"', b"[", b"{", b"[]", b"{}", b"NaN", b'{"a":NaN}',
    b'{"a":Infinity}', b"{'a':1}", b'{"a":1,}', b'{"a":01}', b"[1,2", b'{"batch":', b"\xff\xfe{}",
    b'{"batch":{}}', b'{"batch":null}', b'{"batch":[]}', b'{"batch":[{}', b'{"batch":[NaN]}',
    '{"event":"x"}'.encode("utf-16"), b"\xef\xbb\xbf{}", b'{"a":1}{"a":1}', b'{"a":"\x00"}',
    b"[" * 100_000, b'{"a":' * 100_000, b'"' + b'\\"' * 16_000, b"data=e30%3D&writeKey=wk_chaos",
    b"[" * 2_000 + b"]" * 2_000, b'"\\ud800', b'{"\\ud800":"\\ud800"}', b"a" * 600_000,
)  # fmt: skip

_FIELDS = (
    "type", "messageId", "userId", "anonymousId", "event", "name", "category", "groupId",
    "previousId", "properties", "traits", "context", "integrations", "timestamp",
    "originalTimestamp", "sentAt", "receivedAt", "writeKey", "channel", "_metadata", "batch",
)  # fmt: skip
_CONTEXT_FIELDS = (
    "device", "os", "app", "library", "ip", "userAgent", "campaign", "personas", "consent",
    "direct", "locale", "page", "screen", "network",
)  # fmt: skip
_DEVICE_FIELDS = (
    "id", "advertisingId", "advertising_id", "adTrackingEnabled", "attTrackingStatus",
    "trackingStatus", "adServicesToken", "type", "model", "manufacturer",
)  # fmt: skip


def good(id_: str) -> bytes:
    """A message that must be delivered; what gets to Kochava names its id."""
    return json.dumps({
        "type": "track",
        "event": "Tested",
        "messageId": id_,
        "anonymousId": f"device-{hash_of(id_) % 499}",
        "properties": {"id": id_},
    }).encode()  # fmt: skip


def hash_of(text: str) -> int:
    """The same in every process."""
    return int.from_bytes(text.encode(), "big")


class Messages:
    """Hostile messages, one after the other; each is valid JSON."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._makers: tuple[Callable[[], bytes], ...] = (
            self._wrong_types, self._wrong_types, self._wrong_types, self._bare, self._deep,
            self._doubled, self._wide, self._large, self._long_id, self._odd_text,
        )  # fmt: skip

    def one(self) -> bytes:
        return self._chance.choice(self._makers)()

    def object(self) -> bytes:
        """Like `one`, but always an object, which is all that a single call takes."""
        message = self.one()
        return message if message.lstrip()[:1] == b"{" else self._wrong_types()

    def _bare(self) -> bytes:
        return self._chance.choice(VALUES)

    def _wrong_types(self) -> bytes:
        """A good message with values of any kind in some of its places, and in new ones."""
        fields = self._base()
        for _ in range(self._chance.randint(1, 4)):
            fields[self._chance.choice(_FIELDS)] = self._chance.choice(VALUES)
        if self._chance.random() < 0.5:
            names = self._chance.choice((_CONTEXT_FIELDS, _DEVICE_FIELDS))
            inner = _object({self._chance.choice(names): self._bare() for _ in range(3)})
            fields["context"] = inner if names is _CONTEXT_FIELDS else b'{"device":' + inner + b"}"
        return _object(fields)

    def _deep(self) -> bytes:
        depth = self._chance.choice((199, 200, 201, 500, 1_100, 5_000))
        opening, closing = self._chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
        deep = opening * depth + b"1" + closing * depth
        return _object(self._base() | {"properties": b'{"p":' + deep + b"}"})

    def _doubled(self) -> bytes:
        """The same keys twice, with other values: which one counts is not said anywhere."""
        first, second = _object(self._base()), self._wrong_types()
        return first[:-1] + b"," + second[1:]

    def _wide(self) -> bytes:
        keys = ",".join(f'"k{number}":{number}' for number in range(self._chance.randint(1, 2_000)))
        return _object(self._base() | {"properties": b"{" + keys.encode() + b"}"})

    def _large(self) -> bytes:
        size = self._chance.choice((32_000, 32_768, 32_769, 40_000))
        return _object(self._base() | {"event": b'"' + b"e" * size + b'"'})

    def _long_id(self) -> bytes:
        length = self._chance.choice((99, 100, 101, 5_000))
        return _object(self._base() | {"messageId": b'"' + b"i" * length + b'"'})

    def _odd_text(self) -> bytes:
        """Spaces everywhere, escapes in the names of keys."""
        return (
            b' \n\t{ "\\u0074ype" : "track" , "event":"a\\u0000b\\ud800c", "userId" :"\\"" } \r\n'
        )

    def _base(self) -> dict[str, bytes]:
        fields: dict[str, Any] = {
            "type": self._chance.choice(CALLS),
            "messageId": f"hostile-{self._chance.getrandbits(40)}",
            "userId": "u-1",
            "event": "Hostile",
            "groupId": "g-1",
            "previousId": "p-1",
        }
        return {name: json.dumps(value).encode() for name, value in fields.items()}


def _object(fields: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(f'"{name}":'.encode() + value for name, value in fields.items()) + b"}"
