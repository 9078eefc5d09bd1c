"""What an answer means: the retry decision as a value, with its reason.

Kochava's error answers are not published; docs/decisions/0008-answers.md says what is
known. The rule for the unknown: keep events while there is a chance, never call a doubt a success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

import msgspec

from proxy.deliver.transport import Reply
from proxy.states import Outcome

RETRIED: Final = frozenset({408, 425, 429})
#: A wrong app id, key or URL, or an address that has moved (3xx): the settings are at fault, and no
#: event of that app is lost for it.
CONFIGURATION: Final = frozenset({401, 403, 404})
MAX_RETRY_AFTER: Final = 3_600.0  # seconds; longer ones are taken for a mistake
MAX_BODY: Final = 2_000  # characters of an answer that are kept

_SECONDS = re.compile(r"\d+")
_answer = msgspec.json.Decoder(dict[str, Any])


#: Who answers: Kochava's track endpoint, its identity link, or Segment.
Peer = Literal["track", "link", "segment"]


def judge(reply: Reply, now: float, peer: Peer) -> Outcome:
    """The outcome of an answered attempt. `now` is in epoch seconds.

    Of "track" only a body that says `success: 1` is a delivery. What "link" answers is not
    published, and Segment says `success: true` to all but what is too large or no JSON (HTTP
    Tracking API, "Errors"); of these any 2xx is, unless its body says otherwise.
    """
    must_confirm = peer == "track"
    status, headers, body = reply.status, reply.headers, reply.body
    text = body.decode("utf-8", "replace")[:MAX_BODY]
    reason = f"status_{status}"
    if status in RETRIED or status >= 500:
        wait = retry_after(headers, now)
        return Outcome("retry", reason, status, text, wait)
    if status in CONFIGURATION or 300 <= status < 400:
        return Outcome("misconfigured", reason, status, text)
    if not 200 <= status < 300:
        return Outcome("refused", reason, status, text)
    try:
        answer = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if not must_confirm:
            return Outcome("delivered", "", status, text)
        # Whoever answered this is not Kochava: a captive portal, a proxy's error page.
        return Outcome("retry", "not_an_answer", status, text)
    # "1" and 1 both occur in Kochava's own examples.
    success = answer.get("success", None if must_confirm else 1)
    if success in (1, "1") and (success is not True or peer == "segment"):
        return Outcome("delivered", "", status, text)
    return Outcome("refused", "success_not_1", status, text)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds to wait that a Retry-After header asks for, as number or date; None if none.

    A date is of the clock of whoever wrote it, and so is the Date header beside it: where that
    stands, it does not matter how wrong our own clock is.
    """
    value = _header(headers, "retry-after")
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    moment = _moment(value)
    if moment is None:
        return None
    written = _moment(_header(headers, "date"))
    return min(max(0.0, moment - (now if written is None else written)), MAX_RETRY_AFTER)


def _header(headers: Mapping[str, str], name: str) -> str:
    """The value of a header, "" if it is not there."""
    return next((headers[each] for each in headers if each.lower() == name), "").strip()


def _moment(date: str) -> float | None:
    """An HTTP date in epoch seconds."""
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
