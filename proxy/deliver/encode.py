"""From what a mapping answered to the bytes that go over the wire."""

from __future__ import annotations

from base64 import b64encode
from importlib.metadata import version
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from proxy.config import Config
from proxy.deliver.signing import php_json, sign
from proxy.kochava import IdentityLink, KochavaRequest, Request, SegmentTrack
from proxy.states import Outgoing

USER_AGENT: Final = "kochava-proxy"
LIBRARY: Final = {"name": USER_AGENT, "version": version(USER_AGENT)}

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
        self._segment_url = config.segment.api_url.rstrip("/") + "/track"
        self._segment_keys = {
            source.name: source.segment_write_key
            for source in config.sources
            if source.segment_write_key
        }

    def reaches_segment(self, source: str) -> bool:
        """Whether the source has a key for it."""
        return source in self._segment_keys

    def encode(self, request: Request, source: str) -> Outgoing:
        """One HTTP request; its body is signed where the source has credentials.

        Raises:
            TypeError, ValueError: a plugin put something into it that JSON does not know, or that
                Segment would take and drop.
            KeyError: the source has no key for Segment.

        """
        if isinstance(request, SegmentTrack):
            return self._to_segment(request, self._segment_keys[source])
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        if isinstance(request, IdentityLink):
            url = self._kochava.identity_link_url
            body = _encode(request)
        else:
            url = self._kochava.track_url
            if not request.data.get("device_ua"):
                # Tells Kochava to make a user agent from device_ver ("S2S Without Device UA").
                headers["User-Agent"] = "Unknown"
            body = _encode(_escaped(request) if self._kochava.encode_user_agent else request)
        keys = self._keys.get(source)
        if keys:
            body = php_json(body)
            headers.update(sign(body, *keys))
        return Outgoing("POST", url, headers, body)

    def _to_segment(self, request: SegmentTrack, key: str) -> Outgoing:
        """Without `sentAt`, so that Segment takes the timestamp as it is (its "Spec: Common
        Fields").
        """
        if not request.event or not request.message_id:
            raise ValueError("a SegmentTrack needs an event and a message_id")
        if not request.user_id and not request.anonymous_id:
            raise ValueError("a SegmentTrack needs a user_id or an anonymous_id")
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "Authorization": "Basic " + b64encode(f"{key}:".encode()).decode(),
        }
        body = {
            "type": "track",
            "event": request.event,
            "messageId": request.message_id,
            "userId": request.user_id,
            "anonymousId": request.anonymous_id,
            "timestamp": request.timestamp,
            "properties": request.properties,
            "context": {"library": LIBRARY, **request.context},
        }
        said = {key: value for key, value in body.items() if value is not None}
        return Outgoing("POST", self._segment_url, headers, _encode(said))


def _escaped(request: KochavaRequest) -> KochavaRequest:
    """`request` with its user agent URL-encoded."""
    user_agent = request.data.get("device_ua")
    if not isinstance(user_agent, str):
        return request
    return replace(request, data={**request.data, "device_ua": quote(user_agent, safe="")})
