"""Whatever comes in: no 5xx, and the ledger knows of every message that was acknowledged."""

from __future__ import annotations

import gzip
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.receive.conftest import Door
from tests.receive.strategies import json_texts, messages, values

PATHS = [f"/v1/{call}" for call in ("track", "identify", "page", "screen", "group", "alias")]
BATCH_PATHS = ["/v1/batch", "/v1/import"]

fuzz = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def _post(door: Door, path: str, body: bytes, **headers: str) -> int | None:
    """How many messages more the ledger knows of; None where the request was refused."""
    before = door.counts().received
    answer = await door.post(path, body, **headers)
    assert answer.status in (200, 400)
    reply = await answer.json()
    assert reply["success"] is (answer.status == 200)
    more = door.counts().received - before
    if answer.status == 200:
        return more
    assert more == 0
    return None


@fuzz
@given(
    path=st.sampled_from(PATHS + BATCH_PATHS),
    body=st.binary(max_size=200) | json_texts,
    encoding=st.sampled_from(["identity", "gzip", "unzipped gzip", "br"]),
)
async def test_arbitrary_bytes_are_taken_or_refused(
    door: Door, path: str, body: bytes, encoding: str
) -> None:
    sent = gzip.compress(body) if encoding == "gzip" else body
    more = await _post(door, path, sent, Content_Encoding=encoding.removeprefix("unzipped "))
    assert more != 0


@fuzz
@given(path=st.sampled_from(PATHS), message=messages | values)
async def test_an_arbitrary_message_is_counted_once(door: Door, path: str, message: Any) -> None:
    more = await _post(door, path, json.dumps(message).encode())
    assert more == (1 if isinstance(message, dict) else None)


@fuzz
@given(
    path=st.sampled_from(BATCH_PATHS),
    batch=st.lists(messages | values, max_size=5),
    beside=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("context", "integrations", "sentAt", "extra"), values)
    ),
)
async def test_each_message_of_an_arbitrary_batch_is_counted_once(
    door: Door, path: str, batch: list[Any], beside: dict[str, Any]
) -> None:
    more = await _post(door, path, json.dumps({**beside, "batch": batch}).encode())
    assert more == max(1, len(batch))  # an empty batch counts as one refusal
