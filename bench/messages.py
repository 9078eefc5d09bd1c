"""Messages as SDKs on phones send them, about a kilobyte each, ten from each device.

A device is heard of once in about a hundred messages, until its ten are sent: often enough that
some wait for the one before, and new devices are a tenth of those heard of.

A message is its template with a number filled in wherever something must differ: ready in well
under a microsecond, so that whoever sends them is not what is measured.
"""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

WRITE_KEY: Final = "wk_acme"
GZIP_LEVEL: Final = 6  # as zlib's default, which SDKs leave alone
AUDIENCE: Final = "order_completed_last_30days"

DEVICES: Final = 96  # that send by turns; each always has the same templates
EVENTS: Final = 10  # of each device

_N: Final = "@N@"  # the number of the message, 12 digits
_D: Final = "@D@"  # that of its device, and of whose it is
_NOW: Final = datetime.now(UTC)


def _time(seconds: float) -> str:
    return (_NOW + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def _context(device: dict[str, Any], library: str, os: dict[str, str], agent: str) -> Any:
    return {
        "app": {"name": "Acme", "version": "4.2.0", "build": "420", "namespace": "com.acme.app"},
        "device": {"adTrackingEnabled": True, **device},
        "library": {"name": library, "version": "1.5.11"},
        "locale": "en-US",
        "network": {"wifi": True, "cellular": False, "bluetooth": False},
        "os": os,
        "screen": {"width": 393, "height": 852, "density": 3},
        "timezone": "Europe/Berlin",
        "userAgent": agent,
    }


_IOS: Final = _context(
    {
        "id": f"6D1E8F6A-0A57-4C39-9D53-{_D}",
        "advertisingId": f"5B2C1F0E-8D1A-4B77-9F60-{_D}",
        "trackingStatus": "authorized",
        "manufacturer": "Apple",
        "model": "iPhone16,2",
        "type": "ios",
    },
    "analytics-swift",
    {"name": "iOS", "version": "17.5"},
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15",
)
_ANDROID: Final = _context(
    {
        "id": f"9774{_D}",
        "advertisingId": f"0d9c2b7a-1111-4222-8333-{_D}",
        "manufacturer": "Google",
        "model": "Pixel 8",
        "type": "android",
    },
    "analytics-kotlin",
    {"name": "Android", "version": "14"},
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/125.0 Mobile",
)


def _message(type_: str, context: Any, **rest: Any) -> bytes:
    return msgspec.json.encode(
        {
            "type": type_,
            "messageId": f"3f9a5c1e-7b20-4d8e-a1f4-{_N}",
            "anonymousId": f"5c8f6a2e-3b1d-4c7e-9a52-{_D}",
            "userId": f"u-{_D}",
            "timestamp": _time(-1),
            "context": context,
            "integrations": {},
            **rest,
        }
    )


def _track(event: str, context: Any, **properties: Any) -> bytes:
    return _message("track", context, event=event, properties={"id": _N, **properties})


_PRODUCT: Final = {"product_id": "p-507", "sku": "G-32", "name": "Monopoly", "price": 18.99}
_TRACKS: Final = (
    _track("Product Viewed", _IOS, **_PRODUCT, category="Games", currency="EUR"),
    _track("Product Added", _ANDROID, **_PRODUCT, cart_id="c-7", quantity=1),
    _track("Order Completed", _IOS, order_id=f"o-{_N}", revenue="59.90", currency="eur",
           products=[{**_PRODUCT, "quantity": 2}]),
    _track("Level Finished", _ANDROID, level=12, score=48_211, seconds=93.4, boosters=["x2"]),
)  # fmt: skip
_INSTALL: Final = _track("Application Installed", _ANDROID, version="4.2.0", build="420")
_IDENTIFY: Final = _message("identify", _IOS, traits={"plan": "pro", "city": "Berlin", "age": 31})

#: What Engage sends of a member of an audience: a user, and no device.
_MEMBER: Final = msgspec.json.encode(
    {
        "type": "identify",
        "messageId": f"personas_2f4c-{_N}",
        "userId": f"u-{_D}",
        "timestamp": _time(-1),
        "traits": {AUDIENCE: True},
        "context": {
            "library": {"name": "unknown", "version": "unknown"},
            "personas": {
                "computation_class": "audience",
                "computation_id": "aud_1kxYJ5",
                "computation_key": AUDIENCE,
                "namespace": "spa_1",
                "space_id": "spa_1",
            },
        },
        "integrations": {"All": False, "Kochava": True},
    }
)


def _ready(*templates: bytes) -> tuple[bytes, ...]:
    return tuple(
        each.replace(_N.encode(), b"%(n)012d").replace(_D.encode(), b"%(d)012d")
        for each in templates
    )


#: Templates in turn, by the kind of load. "mapped" is what mappings differ by, "newcomers" are
#: tracks of as many devices, "members" are of those in turn.
_KINDS: Final = {
    "tracks": _ready(*_TRACKS),
    "mapped": _ready(*_TRACKS, _IDENTIFY, _INSTALL),
    "newcomers": _ready(*_TRACKS),
    "members": _ready(_MEMBER),
}


def message(kind: str, number: int, users: int = 1) -> bytes:
    """The message of a number. "members" are `users` users, those of the newcomers that had the
    numbers below that.
    """
    match kind:
        case "members":
            device = number % users
        case "newcomers":
            device = number
        case _:
            device = number // (DEVICES * EVENTS) * DEVICES + number % DEVICES
    templates = _KINDS[kind]
    return templates[number % len(templates)] % {b"n": number, b"d": device}


def bodies(
    kind: str, first: int, number: int, batch: int, *, users: int = 1, gzipped: bool = False
) -> Iterator[bytes]:
    """What is posted: `number` messages, `batch` in each; single ones if that is 0."""
    if not batch:
        for each in range(first, first + number):
            yield message(kind, each, users)
        return
    head = b'{"sentAt":"%b","writeKey":"%b","batch":[' % (_time(0).encode(), WRITE_KEY.encode())
    for begin in range(first, first + number, batch):
        end = min(begin + batch, first + number)
        body = head + b",".join(message(kind, each, users) for each in range(begin, end)) + b"]}"
        yield gzip.compress(body, GZIP_LEVEL, mtime=0) if gzipped else body


def head(path: str, *, gzipped: bool = False) -> bytes:
    """A request up to the length of its body."""
    key = b64encode(f"{WRITE_KEY}:".encode()).decode()
    encoding = "Content-Encoding: gzip\r\n" if gzipped else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {key}\r\n"
        f"Content-Type: application/json\r\n{encoding}Content-Length: "
    ).encode()
