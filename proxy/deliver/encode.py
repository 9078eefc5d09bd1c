"""From what a mapping answered to the bytes that go over the wire."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from proxy.config import Config
from proxy.deliver.signing import php_json, sign
from proxy.kochava import IdentityLink, KochavaRequest
from proxy.states import Outgoing

USER_AGENT: Final = "kochava-proxy"

_encode = msgspec.json.Encoder().encode


class Encoder:
    """Knows the endpoints, and the credentials of each source."""

    def __init__(self, config: Config) -> None:
        self._kochava = config.kochava
        self._keys = {
            source.name: (source.kochava_api_key, source.kochava_secret)
            for source in config.sources
            if source.kochava_api_key
        }

    def encode(self, request: KochavaRequest | IdentityLink, source: str) -> Outgoing:
        """One HTTP request; its body is signed where the source has credentials.

        Raises:
            TypeError, ValueError: a plugin put something into `data` that JSON does not know.

        """
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        if isinstance(request, IdentityLink):
            url = self._kochava.identity_link_url
            body = _encode(request)
        else:
            url = self._kochava.track_url
            if not request.data.get("device_ua"):
                # Tells Kochava to make a user agent from device_ver ("S2S Without Device UA").
                headers["User-Agent"] = "Unknown"
            body = _encode(self._body(request))
        keys = self._keys.get(source)
        if keys:
            body = php_json(body)
            headers.update(sign(body, *keys))
        return Outgoing("POST", url, headers, body)

    def _body(self, request: KochavaRequest) -> dict[str, Any]:
        data = request.data
        user_agent = data.get("device_ua")
        if self._kochava.encode_user_agent and isinstance(user_agent, str):
            data = {**data, "device_ua": quote(user_agent, safe="")}
        return {**msgspec.structs.asdict(request), "data": data}
