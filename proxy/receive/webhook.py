"""Segment's Webhook destination as a source: whole messages, one at a time or in arrays.

Segment signs a single message, and of an array only its first element (action-destinations,
"Webhook (Actions)"). The token in the path is therefore required beside the signature, and covers
the rest. Segment retries for four hours what is answered with 5xx or 429, and drops the rest.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import msgspec
from aiohttp import web

from proxy.config import Config
from proxy.errors import RequestRefused
from proxy.receive.credentials import Keys
from proxy.receive.door import Door
from proxy.receive.intake import Batch, Intake, read_array, read_message, take_batch
from proxy.receive.jsontext import first_item
from proxy.receive.replies import success
from proxy.receive.slices import Sliced

PATH: Final = "/webhooks/segment/{token}"
METHODS: Final = ("POST", "PUT", "PATCH")
#: Segment adds to what clients sent, and fills a batch with up to 4,000 of them.
MAX_BODY: Final = 32 * 1024 * 1024
MAX_MESSAGE: Final = 512_000
MAX_MESSAGES: Final = 10_000


class WebhookApi:
    """Takes messages for the sources that have a webhook token."""

    def __init__(self, door: Door, config: Config) -> None:
        self._door = door
        sources = [source for source in config.sources if source.webhook_token]
        self._tokens = Keys((source.webhook_token, source.name) for source in sources)
        self._secrets = {source.name: source.webhook_secrets for source in sources}

    def add_routes(self, app: web.Application) -> None:
        """Segment's users choose between the methods."""
        for method in METHODS:
            app.router.add_route(method, PATH, self._take)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        source = self._tokens.name(request.match_info["token"])
        if source is None:
            raise RequestRefused(404, "not_found", "there is no such webhook")
        door = self._door
        body = await door.read(request, MAX_BODY)
        is_array = body.lstrip()[:1] == b"["
        secrets = self._secrets[source]
        signature = request.headers.get("X-Signature", "")
        if secrets and not is_signed(first_item(body) if is_array else body, signature, secrets):
            raise RequestRefused(401, "bad_signature", "X-Signature does not match the body")
        await door.keep(source, await door.turns.run(self._taken(source, body, is_array=is_array)))
        return success()

    def _taken(self, source: str, body: bytes, *, is_array: bool) -> Sliced[Intake]:
        """The connection is Segment's, not the user's: it says nothing about the address."""
        if is_array:
            batch = yield from read_array(body)
        else:
            batch = Batch(batch=[msgspec.Raw(read_message(body)[0])])
        door = self._door
        intake = yield from take_batch(
            batch, source, door.clock.now(), None, door.new_id, MAX_MESSAGE, MAX_MESSAGES,
            deletions=True,
        )  # fmt: skip
        return intake


def is_signed(message: bytes, signature: str, secrets: tuple[str, ...]) -> bool:
    """Whether `signature` is the hex HMAC-SHA1 of these bytes by one of `secrets`."""
    given = signature.strip().lower().encode(errors="replace")
    matches = [
        hmac.compare_digest(hmac.new(secret.encode(), message, hashlib.sha1).hexdigest().encode(),
                            given)
        for secret in secrets
    ]  # fmt: skip
    return any(matches)
