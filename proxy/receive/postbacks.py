"""Kochava's postbacks: what it tells of an install, one at a time.

Its dashboard asks for a URL whose parameters it fills in ("Create a Custom Postback"). Whether the
call is a GET, or a POST with a form or with JSON, it does not say: all are taken, and kept as the
same thing. It signs nothing, so that the token in the path is all there is to know it by.

Kochava tries again ten times at most, by its settings perhaps never, and has no other copy for us.
What can be kept is therefore never told to wait (docs/decisions/0033-postbacks.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from proxy.config import Config
from proxy.decode import UNREADABLE
from proxy.errors import RequestRefused
from proxy.event import Event
from proxy.placing import place_postback
from proxy.postback import postback_id, read_fields, spellings
from proxy.receive.credentials import Keys
from proxy.receive.door import Door
from proxy.receive.intake import MAX_MESSAGE, Intake, read_message
from proxy.receive.replies import success
from proxy.segment import Postback

#: An empty token is a wrong one, and answered as such.
PATH: Final = "/postbacks/kochava/{postback_token:[^/]*}"
MAX_PARAMETERS: Final = 1_000  # some thirty are in use

_NO_NAME: Final = re.compile(r"[\s\x00-\x1f\"<>]")  # of a parameter, but in XML or multipart
_values = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


class PostbackApi:
    """Takes postbacks for the sources that have a token for them."""

    def __init__(self, door: Door, config: Config) -> None:
        self._door = door
        sources = [source for source in config.sources if source.postback_token]
        self._tokens = Keys((source.postback_token, source.name) for source in sources)
        self._names = spellings(config.postbacks.parameters)

    def add_routes(self, app: web.Application) -> None:
        """Both methods; who only looks where the URL leads (HEAD) has nothing to tell."""
        app.router.add_get(PATH, self._take, allow_head=False)
        app.router.add_post(PATH, self._take)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        source = self._tokens.name(request.match_info["postback_token"])
        if source is None:
            raise RequestRefused(404, "not_found", "there is no such postback")
        door = self._door
        body = await door.body(request, MAX_MESSAGE)
        given = {**read_form(request.rel_url.raw_query_string), **read_parameters(body)}
        event = take_postback(source, given, self._names, door.clock.now())
        await door.keep_always(source, Intake((event,), {}))
        return success()


def take_postback(
    source: str, given: Mapping[str, str], names: Mapping[str, str], now: float
) -> Event:
    """What was given as it came: our names for it are read anew each time. `names` is what
    `spellings` answers.

    Raises:
        RequestRefused: 400, it says nothing, or too much.

    """
    raw = msgspec.json.encode(given)
    if len(raw) > MAX_MESSAGE:
        raise RequestRefused(400, "payload_too_large", f"more than {MAX_MESSAGE} bytes")
    fields = read_fields(raw, names)
    if not fields:
        what = "no parameter says anything: each is empty, or a {macro} that was not filled in"
        raise RequestRefused(400, "bad_request", what)
    message_id = postback_id(source, fields)
    placed = msgspec.structs.asdict(place_postback(source, message_id))
    return Event(source, message_id, Postback.type, now, b"{}", raw, **placed)


def read_parameters(body: bytes) -> dict[str, str]:
    """The parameters in a body, by what it looks like: whoever writes a template may not set its
    type as well.

    Raises:
        RequestRefused: 400, this is neither a form nor a JSON object, or holds too much.

    """
    # Rather with a mark in a campaign's name than not at all.
    text = body.decode("utf-8-sig", "replace").strip()
    if text.startswith("{"):
        return _of_json(text.encode())
    given = read_form(text)
    if any(map(_NO_NAME.search, given)) or (text and "=" not in text):
        raise RequestRefused(400, "bad_request", "the body is neither a form nor a JSON object")
    return given


def _of_json(body: bytes) -> dict[str, str]:
    """Numbers as they were written; what is nested as JSON."""
    try:
        values = _values.decode(read_message(body)[0])
        given = {name: _as_text(bytes(value)) for name, value in values.items()}
    except UNREADABLE as error:
        raise RequestRefused(400, "bad_request", f"the body is not JSON: {error}") from None
    _check_number(len(given))
    return {name: value for name, value in given.items() if value is not None}


def _as_text(value: bytes) -> str | None:
    if value.startswith(b'"'):
        return _text.decode(value)
    return None if value == b"null" else value.decode()


def read_form(text: str) -> dict[str, str]:
    """The parameters in a query or form; of those that contradict each other the first counts.

    Raises:
        RequestRefused: 400, there are too many.

    """
    # Bytes of a URL that are no UTF-8 come as half surrogates, which no JSON can hold.
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    _check_number(text.count("&") + 1)
    given: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        given.setdefault(name, value)
    return given


def _check_number(parameters: int) -> None:
    if parameters > MAX_PARAMETERS:
        raise RequestRefused(400, "bad_request", f"more than {MAX_PARAMETERS} parameters")
