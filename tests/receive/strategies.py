"""Hypothesis strategies for what clients may send."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

#: Any JSON value.
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)

json_texts = values.map(lambda value: json.dumps(value).encode())

#: Values with a meaning somewhere, and lone surrogates, which JSON can write.
_telling = st.text(st.characters(), max_size=12) | st.sampled_from([
    "", " ", "0.0.0.0", "00000000-0000-0000-0000-000000000000", "9774d56d682e549c", "ios",
    "android", "authorized", 3, "unknown", "9.99", "$1,299.00", "eur", 10**400, {}, [], 1e308,
    "2024-05-03T19:42:50.066179717+01:00", "0001-01-01", "9999-12-31T23:59:59-12:00", 1e300,
    {"source": "x"}, {"sum": True}, {"a": {"b": {"c": [1]}}}, {"segment_source": 1, "source": 2},
])  # fmt: skip

_CONTEXT: dict[str, Any] = {
    "device": {
        "id": "6D1E8F6A-0A57-4C39-9D53-0B1B7A9F2C10",
        "advertisingId": "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60",
        "adTrackingEnabled": True,
        "attTrackingStatus": 3,
        "adServicesToken": "token",
        "type": "ios",
        "model": "iPhone16,2",
    },
    "os": {"name": "iOS", "version": "17.5"},
    "app": {"version": "4.2.0"},
    "library": {"name": "analytics-swift"},
    "ip": "203.0.113.9",
    "userAgent": "Mozilla/5.0",
    "campaign": {"source": "iAd", "provider": "Apple", "name": "Brand", "id": 9001},
    "personas": {"computation_key": "vip"},
    "consent": {"categoryPreferences": {"C0002": True}},
}
_COMMON: dict[str, Any] = {
    "userId": "u-1",
    "anonymousId": "a-1",
    "messageId": "m-1",
    "timestamp": "2026-01-01T00:00:00Z",
    "sentAt": "2026-01-01T00:00:01Z",
    "context": _CONTEXT,
    "integrations": {"All": True, "Kochava": {"plan": "gold"}},
}
_MONEY = {"revenue": "9.99", "currency": "EUR", "source": "mail", "products": [{"price": 1}]}
_CALLS: list[dict[str, Any]] = [
    {"type": "track", "event": "Application Installed"},
    {"type": "track", "event": "Order Completed", "properties": _MONEY},
    {"type": "track", "event": "Tested", "properties": {"total": 5, "deep": {"er": {"still": 1}}}},
    {"type": "identify", "traits": {"vip": True, "email": "a@example.com"}},
    {"type": "screen", "name": "Home", "category": "main", "properties": {}},
    {"type": "page", "name": None},
    {"type": "group", "groupId": "g-1", "traits": {}},
    {"type": "alias", "previousId": "a-1"},
]


@st.composite
def _messages(draw: st.DrawFn) -> dict[str, Any]:
    message = copy.deepcopy({**_COMMON, **draw(st.sampled_from(_CALLS))})
    for _ in range(draw(st.integers(0, 5))):
        place, key = message, draw(st.sampled_from(sorted({*message, "new"})))
        while isinstance(place.get(key), dict) and draw(st.integers(0, 4)):
            place = place[key]
            key = draw(st.sampled_from(sorted({*place, "new"})))
        place[key] = copy.deepcopy(draw(_telling | values))
    return message


#: Good messages of every type, with anything at all in a few of their places.
messages = _messages()
