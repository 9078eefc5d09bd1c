"""Whose request this is: the write key, in the three places where SDKs put it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from proxy.config import SourceConfig
from proxy.errors import RequestRefused


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


class Sources:
    """The sources by write key."""

    def __init__(self, sources: Mapping[str, SourceConfig]) -> None:
        self._by_key = dict(sources)

    def find(self, *keys: object) -> str:
        """The name of the source of the first of `keys` that is given.

        Raises:
            RequestRefused: 401, no key or an unknown one.

        """
        for key in keys:
            if isinstance(key, str) and key:
                source = self._by_key.get(key.strip())
                if source is None:
                    raise RequestRefused(401, "unknown_source", "no source has this write key")
                return source.name
        raise RequestRefused(
            401, "unknown_source", "no write key: send it as Basic user name or as writeKey"
        )
