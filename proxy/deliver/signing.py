"""Kochava's install authentication ("strict authentication").

The body's SHA-1 in hex is appended to the secret; HMAC-SHA256 of that, keyed with the API key, is
the token. Kochava checks the body as PHP's json_encode would write it: slashes behind a backslash
(Kochava, "Install Authentication Integration"), and so, most likely, everything beyond ASCII as
escapes and no ".0" behind a whole number.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Final

_WHOLE: Final = 1e15  # from here on floats are written with exponents


def php_json(body: bytes) -> bytes:
    """JSON as PHP's json_encode writes it."""
    value = json.loads(body, parse_float=_number)
    compact = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return compact.replace("/", "\\/").encode()


def _number(text: str) -> float | int:
    """PHP drops a zero fraction (JSON_PRESERVE_ZERO_FRACTION is off by default)."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _WHOLE else number


def sign(body: bytes, api_key: str, secret: str) -> dict[str, str]:
    """The headers that authenticate exactly these bytes."""
    digest = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    token = hmac.new(api_key.encode(), (secret + digest).encode(), hashlib.sha256).hexdigest()
    return {"Kochava-Api-Key": api_key, "Kochava-Auth-Token": token}
