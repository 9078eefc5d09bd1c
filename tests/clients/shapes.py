"""Requests of SDKs that cannot run here, written down from their sources, and what each of them
takes as success. The versions are those that were read, in the segmentio repositories of the same
names.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.clients.conftest import KEY

ANONYMOUS = "0f2c7d1e-5a7b-4c44-9b51-3c0a6c8e2f11"
IDFV = "6D1E8F6A-0A57-4C39-9D53-0B1B7A9F2C10"
WIDEVINE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SENT = "2026-01-01T00:00:05.000Z"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()}

Accepts = Callable[[int, bytes], bool]


def below_300(status: int, _: bytes) -> bool:
    """analytics-swift, -kotlin, -ios, -android, -go, -react-native read the status alone."""
    return 200 <= status < 300


def ruby(status: int, body: bytes) -> bool:
    """transport.rb: a body without JSON counted as a failure, and the batch was sent again."""
    return status < 400 and json.loads(body).get("error") is None


def java(status: int, body: bytes) -> bool:
    """AnalyticsClient reads an UploadResponse, which has the one field `success`."""
    return below_300(status, body) and json.loads(body)["success"] is True


@dataclass(frozen=True)
class Shape:
    """A request, and the device that Kochava should be told of. `path` goes behind the `apiHost`
    of the settings if the SDK loads them.
    """

    sdk: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    device: str
    accepts: Accepts = below_300
    zipped: bool = False
    chunked: bool = False
    settings: dict[str, str] | None = None

    def content(self) -> bytes | Iterable[bytes]:
        """The body as it goes over the wire; in small pieces if its length is not told."""
        raw = json.dumps(self.body, ensure_ascii=False).encode()
        raw = gzip.compress(raw) if self.zipped else raw
        return (raw[at : at + 100] for at in range(0, len(raw), 100)) if self.chunked else raw


def _messages(context: dict[str, Any], *, time: str = "", **more: Any) -> list[dict[str, Any]]:
    common = {
        "anonymousId": ANONYMOUS,
        "context": context,
        "integrations": {},
        "timestamp": time or "2026-01-01T00:00:00.123Z",
        **more,
    }
    opened = {"from_background": False, "version": "2.0", "build": "7"}
    return [
        {"type": "track", "event": "Application Opened", "properties": opened, "messageId": "m-1"}
        | common,
        {"type": "screen", "name": "Cart", "properties": {}, "messageId": "m-2"} | common,
    ]


def _context(library: str, type_: str, id_: str, **device: Any) -> dict[str, Any]:
    return {
        "device": {"id": id_, "type": type_, "manufacturer": "M", "model": "N 8", **device},
        "os": {"name": {"ios": "iOS", "android": "Android"}[type_], "version": "14"},
        "library": {"name": library, "version": "1.0.0"},
        "app": {"name": "Acme", "version": "2.0", "build": "7", "namespace": "com.acme"},
        "locale": "de-DE",
        "timezone": "Europe/Berlin",
    }


_METADATA: dict[str, list[str]] = {"bundled": [], "unbundled": [], "bundledIds": []}
_KEYED = {"sentAt": SENT, "writeKey": KEY}
_UTF8 = "application/json; charset=utf-8"

MOBILE = [
    Shape(
        "analytics-swift 1.9.4",
        "/b",
        {"Content-Type": _UTF8, "User-Agent": "analytics-ios/1.9.4"},
        # The sample of its plugin for advertising ids puts the IDFV where the IDFA is refused.
        {"batch": _messages(
            _context("analytics-swift", "ios", IDFV, advertisingId=IDFV, adTrackingEnabled=False),
            userId="u-1", _metadata=_METADATA,
        ), **_KEYED},
        IDFV,
        settings={"Content-Type": _UTF8},
    ),
    Shape(
        "analytics-kotlin 1.24.1",
        "/b",
        {"Content-Type": "text/plain", "User-Agent": "analytics-kotlin/1.24.1"},
        {"batch": _messages(
            _context("analytics-kotlin", "android", WIDEVINE), _metadata=_METADATA
        ), **_KEYED},
        WIDEVINE,
        zipped=True,
        chunked=True,
        settings={"Content-Type": _UTF8},
    ),
    Shape(
        "analytics-ios 4.1.8",
        "/batch",
        {"Content-Type": "application/json", "User-Agent": "analytics-ios/4.1.8"},
        {"batch": _messages(
            _context("analytics-ios", "ios", IDFV, adTrackingEnabled=True), channel="mobile"
        ), **_KEYED},
        IDFV,
        zipped=True,
        settings={},
    ),
    Shape(
        "analytics-android 4.11.4",
        "/import",
        {"Content-Type": "application/json", "User-Agent": "analytics-android/4.11.4"},
        # The device's id is empty until a thread of its own has found it.
        {"batch": _messages(
            _context("analytics-android", "android", "", adTrackingEnabled=True),
            channel="mobile",
        ), **_KEYED},
        ANONYMOUS,
        zipped=True,
        chunked=True,
        settings={"Content-Type": "application/json"},
    ),
    Shape(
        "analytics-react-native 2.21.4",
        "/b",
        {"Content-Type": _UTF8, "X-Retry-Count": "0"},
        {"batch": _messages(
            _context("@segment/analytics-react-native", "android", WIDEVINE),
            userId=None, _metadata=_METADATA,
        ), **_KEYED},
        WIDEVINE,
        settings={"Cache-Control": "no-cache"},
    ),
]  # fmt: skip

SERVERS = [
    Shape(
        "analytics-ruby 2.5.0",
        "/v1/import",
        {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "analytics-ruby/2.5.0",
            **BASIC,
        },
        {"sentAt": "2026-01-01T01:00:05.000+01:00", "batch": _messages(
            _context("analytics-ruby", "android", WIDEVINE),
            time="2026-01-01T01:00:00.123+01:00", userId="u-1",
        )},
        WIDEVINE,
        ruby,
    ),
    Shape(
        "analytics-go 3.0.0",
        "/v1/batch",
        {
            "User-Agent": "analytics-go (version: 3.0.0)",
            "Content-Type": "application/json",
            "Accept-Encoding": "gzip",
            **BASIC,
        },
        # The context stands beside the batch.
        {
            "messageId": "b-1",
            "sentAt": "2026-01-01T00:00:05.066179717Z",
            "batch": _messages({}, time="2026-01-01T00:00:00.123456789Z", userId="u-1"),
            "context": _context("analytics-go", "android", WIDEVINE),
        },
        WIDEVINE,
    ),
    Shape(
        "analytics-java 3.5.5",
        "/v1/import/",
        {
            "Content-Type": "application/json; charset=UTF-8",
            "User-Agent": "analytics-java/3.5.5",
            "X-Retry-Count": "0",
            **BASIC,
        },
        {
            "batch": _messages({}, userId="u-1", sentAt=SENT),
            "sentAt": SENT,
            "context": _context("analytics-java", "android", WIDEVINE),
            "sequence": 1,
            "writeKey": KEY,
        },
        WIDEVINE,
        java,
    ),
]  # fmt: skip
