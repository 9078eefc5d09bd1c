"""The settings that SDKs load before they send.

Mobile SDKs take `apiHost` from here and forget the host that the app was built with: settings that
come from Segment would send the app's traffic back to Segment. Source: Swift, Kotlin, React
Native and analytics-next; the fields are the least that all of them accept.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from proxy.errors import RequestRefused
from proxy.receive.door import Door

PATHS = ("/v1/projects/{key}/settings", "/projects/{key}/settings")
_FRESH = "public, max-age=300"


class SettingsApi:
    """Answers with this proxy as the only integration."""

    def __init__(self, door: Door, public_url: str) -> None:
        """`public_url` is where apps reach this proxy; "" means the host that was asked."""
        self._door = door
        self._public_url = public_url.rstrip("/")

    def add_routes(self, app: web.Application) -> None:
        for path in PATHS:
            app.router.add_get(path, self._settings)

    async def _settings(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        if self._door.keys.name(key) is None:
            raise RequestRefused(404, "unknown_source", "no source has this write key")
        scheme, host = self._address(request)
        if not host.isascii():
            raise RequestRefused(400, "bad_request", "the host that is asked is not one")
        body = msgspec.json.encode(settings(key, host, scheme))
        # Without an Origin too: a shared cache must not hand an app's answer to a page.
        headers = {"Cache-Control": _FRESH, "Vary": "Origin"}
        return web.Response(body=body, content_type="application/json", headers=headers)

    def _address(self, request: web.Request) -> tuple[str, str]:
        """Scheme, and host with path but without "/v1", under which apps reach this proxy."""
        if self._public_url:
            parts = urlsplit(self._public_url)
            return parts.scheme, parts.netloc + parts.path
        scheme, host = request.scheme, request.host
        if self._door.proxies.trusts(request.remote):
            scheme = _outermost(request.headers.get("X-Forwarded-Proto", "")) or scheme
            host = _outermost(request.headers.get("X-Forwarded-Host", "")) or host
        return scheme, host


def _outermost(forwarded: str) -> str:
    """What the first of several proxies wrote: it is the one that apps reach."""
    return forwarded.partition(",")[0].strip()


def settings(key: str, host: str, scheme: str) -> dict[str, object]:
    """The document for a write key."""
    enabled: dict[str, object] = {"enabled": True, "integrations": {}}
    integration: dict[str, object] = {
        "apiKey": key,
        "apiHost": f"{host}/v1",
        "unbundledIntegrations": [],
        "addBundledMetadata": True,
        "maybeBundledConfigIds": {},
        "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
    }
    if scheme == "http":  # browsers take https for granted; apps put it there themselves
        integration["protocol"] = "http"
    return {
        "integrations": {"Segment.io": integration},
        "plan": {call: {"__default": enabled} for call in ("track", "identify", "group")},
        "edgeFunction": {},
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},  # keeps SDKs from sending their own counters
        "analyticsNextEnabled": True,
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }
