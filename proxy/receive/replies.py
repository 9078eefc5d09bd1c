"""Answers in the form that Segment's SDKs expect.

Success is exactly 200 with `{"success": true}`: older SDKs count any other status, or a body that
is not JSON, as a failure and send the batch again (docs/decisions/0010-the-door.md).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
from aiohttp import web

from proxy.errors import RequestRefused

_SUCCESS: Final = b'{"success": true}'


def success() -> web.Response:
    """Everything in the request is on the disk, or was counted as rejected."""
    return web.Response(body=_SUCCESS, content_type="application/json")


def refusal(error: RequestRefused) -> web.Response:
    """The request as a whole was not taken; both Python SDKs show `code` and `message`."""
    body = {"success": False, "code": error.code, "message": error.message}
    response = web.Response(
        status=error.status, body=msgspec.json.encode(body), content_type="application/json"
    )
    if error.status in (429, 503):
        # Whole seconds: not every SDK reads fractions, or dates.
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="write key"'
    return response
