"""Kochava's install authentication ("strict authentication").

The body's SHA-1 in hex is appended to the secret; HMAC-SHA256 of that, keyed with the API key, is
the token. Kochava checks the body as PHP's json_encode would write it: slashes behind a backslash
and everything beyond ASCII as escapes. Source: Kochava, "Install Authentication Integration".
"""

from __future__ import annotations

import hashlib
import hmac
import json


def php_json(body: bytes) -> bytes:
    """JSON as PHP's json_encode writes it."""
    compact = json.dumps(json.loads(body), ensure_ascii=True, separators=(",", ":"))
    return compact.replace("/", "\\/").encode()


def sign(body: bytes, api_key: str, secret: str) -> dict[str, str]:
    """The headers that authenticate exactly these bytes."""
    digest = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    token = hmac.new(api_key.encode(), (secret + digest).encode(), hashlib.sha256).hexdigest()
    return {"Kochava-Api-Key": api_key, "Kochava-Auth-Token": token}
