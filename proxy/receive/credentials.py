"""Whose request this is: the write key, in every place where SDKs put it.

Keys are compared by their digests, so that how long a comparison takes says nothing about a key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import lru_cache

from proxy.errors import RequestRefused


@lru_cache(maxsize=256)  # a client sends the same with every request
def key_from_header(authorization: str | None) -> str | None:
    """The key of Basic authentication, with or without the colon behind it; None for any other.

    A Bearer token is Segment's own (OAuth) and cannot be checked here: such clients send the key
    in the body as well.
    """
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError:  # not base64, or bytes that are no text
        return None
    return decoded.partition(":")[0] or None


class Keys:
    """Names by secret: of sources by their write keys, or by the tokens of their webhooks."""

    def __init__(self, keys: Iterable[tuple[str, str]]) -> None:
        """`keys` are pairs of a key and the name of its source."""
        self._names = {_digest(key): name for key, name in keys}

    def name(self, key: str) -> str | None:
        """The source of `key`; None if it is no key of any."""
        return self._names.get(_digest(key.strip()))

    def find(self, *keys: str | None) -> str:
        """The source of the first of `keys` that is given.

        Raises:
            RequestRefused: 401, no key or an unknown one.

        """
        for key in keys:
            if key:
                name = self.name(key)
                if name is None:
                    raise RequestRefused(401, "unknown_source", "no source has this write key")
                return name
        raise RequestRefused(
            401, "unknown_source", "no write key: send it as Basic user name or as writeKey"
        )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
