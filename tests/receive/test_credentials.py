"""Whose a request is, and whose each message of a batch."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.errors import RequestRefused
from proxy.receive.credentials import Keys, key_from_header
from tests.receive.conftest import Door, OpenDoor, basic, track
from tests.support import SOURCE, make_config

BEARER = "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"
TWO_SOURCES = [
    {**SOURCE, "write_key": ["wk_new", "wk_old", "clé-鍵"]},
    {**SOURCE, "name": "beta", "write_key": "wk_beta"},
]


@pytest.fixture
async def door(open_door: OpenDoor) -> Door:
    return await open_door(make_config(sources=TWO_SOURCES))


@pytest.mark.parametrize("key", ["wk_new", "wk_old", "clé-鍵"])
@pytest.mark.parametrize("place", ["basic", "body", "message", "query"])
async def test_every_key_of_a_source_opens_it_wherever_it_is_put(
    door: Door, key: str, place: str
) -> None:
    body: dict[str, Any] = {"batch": [track(), track("m-2")]}
    headers, query = {}, {}
    match place:
        case "basic":
            headers["Authorization"] = basic(f"{key}:")
        case "body":
            headers["Authorization"] = BEARER  # with OAuth the key stands in the body as well
            body["writeKey"] = key
        case "message":
            body["batch"][0]["writeKey"] = key
        case _:
            query["writeKey"] = key
    answer = await door.client.post("/v1/batch", json=body, headers=headers, params=query)
    assert answer.status == 200
    assert door.types() == [("acme", "track")] * 2


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
@pytest.mark.parametrize(
    ("header", "body", "query", "source"),
    [
        (basic("wk_beta:"), "wk_new", "wk_new", "beta"),
        (BEARER, "wk_beta", "wk_new", "beta"),
        (basic("wk_other:"), "wk_new", "wk_new", None),
        (None, "wk_other", "wk_new", None),
        (basic(":"), "", "wk_beta", "beta"),
        (basic(":"), ["wk_new"], "wk_beta", "beta"),
    ],
    ids=["header before body", "body before query", "unknown header", "unknown body",
         "nothing but the query", "list in the body"],
)  # fmt: skip
async def test_of_several_keys_the_first_given_counts_header_body_query(
    door: Door, path: str, header: str | None, body: Any, query: str, source: str | None
) -> None:
    message = track(writeKey=body, batch=[track()])
    headers = {"Authorization": header} if header else {}
    answer = await door.client.post(path, json=message, headers=headers, params={"writeKey": query})
    assert answer.status == (200 if source else 401)
    assert door.types() == ([(source, "track")] if source else [])


async def test_each_message_goes_to_the_source_whose_key_it_names(door: Door) -> None:
    """Swift and Kotlin put the key into each message; a relay may gather those of several apps."""
    keys = ["wk_other", "wk_old", "wk_beta", None, "wk_new", 7, "", "wk_beta", "wk_stray"]
    batch = [track(f"m-{n}", writeKey=key) for n, key in enumerate(keys)]
    batch.append(track(None, userId=None, writeKey="wk_beta"))
    answer = await door.post("/v1/b", {"batch": batch}, key=None)
    assert answer.status == 200
    acme, beta = door.counts("acme"), door.counts("beta")
    # Without a key of its own a message goes with the first that is known.
    assert (acme.pending, beta.pending) == (5, 2)
    assert (acme.rejected, beta.rejected) == ({"unknown_source": 2}, {"no_user_anon_id": 1})
    assert acme.received + beta.received == len(batch)


async def test_the_key_of_a_whole_batch_overrules_those_of_its_messages(door: Door) -> None:
    batch = [track("m-1", writeKey="wk_beta"), track("m-2", writeKey="wk_other")]
    assert (await door.post("/v1/batch", {"batch": batch}, key="wk_new")).status == 200
    assert door.types() == [("acme", "track")] * 2


async def test_what_is_beside_a_batch_goes_with_the_messages_of_every_source(door: Door) -> None:
    batch = [track("m-1", writeKey="wk_new"), track("m-2", writeKey="wk_beta")]
    beside = {"sentAt": "2026-01-01T00:00:00Z", "context": {"app": {"version": "1"}}}
    await door.post("/v1/batch", {"batch": batch, **beside}, key=None)
    for facts in door.facts():
        assert facts.sent_at == beside["sentAt"]
        assert msgspec.json.decode(msgspec.json.encode(facts.context)) == beside["context"]
    assert len(door.raws()) == 2


async def test_something_else_in_place_of_a_batchs_key_hides_no_messages_key(door: Door) -> None:
    odd: Any
    for odd in (["wk_new"], {}, 7, True, "", None):
        batch = [track(f"m-{odd}", writeKey="wk_beta")]
        answer = await door.post("/v1/b", {"batch": batch, "writeKey": odd}, key=None)
        assert answer.status == 200, odd
    assert door.counts("beta").pending == 6


ODD = {
    "lone surrogate": "wk\ud83d",
    "NUL": "wk_new\0",
    "half a megabyte": "k" * 500_000,
    "list": ["wk_new"],
    "object": {"wk_new": "wk_new"},
    "true": True,
    "other form of the same letters": "cle\u0301-鍵",
    "full width": "\uff57\uff4b_new",
    "space": "  ",
}


@pytest.mark.parametrize("key", [pytest.param(key, id=name) for name, key in ODD.items()])
@pytest.mark.parametrize("place", ["beside the batch", "in each message"])
async def test_an_odd_key_is_nobodys(door: Door, key: Any, place: str) -> None:
    beside, within = (key, None) if place == "beside the batch" else (None, key)
    body = {"writeKey": beside, "batch": [track(writeKey=within)]}
    answer = await door.post("/v1/batch", body, key=None)
    assert (answer.status, (await answer.json())["code"]) == (401, "unknown_source")
    assert door.types() == []


@pytest.mark.parametrize(
    ("authorization", "key"),
    [
        (basic("wk:"), "wk"),
        (basic("wk"), "wk"),
        (basic("wk:pass:word"), "wk"),
        (basic("clé-鍵:"), "clé-鍵"),
        (basic("wk:").replace("Basic ", "BASIC   "), "wk"),
        (basic(":"), None),
        (basic(""), None),
        (BEARER, None),
        ("Basic", None),
        ("", None),
        (None, None),
        ("wk", None),
        ("Basic \udcff", None),
        ("Basic " + "A" * 1_000_000, "\0" * 750_000),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_only_basic_authentication_carries_a_key(
    authorization: str | None, key: str | None
) -> None:
    assert key_from_header(authorization) == key


def test_a_key_is_found_whole_or_not_at_all() -> None:
    keys = Keys([("wk_1", "acme"), ("wk_2", "acme"), ("wk_12", "beta")])
    names = [keys.name(key) for key in ("wk_1", " wk_2\n", "wk_12", "wk_", "wk_123", "WK_1", "")]
    assert names == ["acme", "acme", "beta", None, None, None, None]
    assert [keys.name(key) for key in ("\udcff", "\ud83d")] == [None] * 2


def test_no_key_is_told_from_an_unknown_one_in_words_alone() -> None:
    keys = Keys([("wk_1", "acme")])
    assert keys.find(None, "", "wk_1", "wk_other") == "acme"
    for given, words in ((("wk_other", "wk_1"), "no source has"), ((None, ""), "no write key")):
        with pytest.raises(RequestRefused, match=words) as caught:
            keys.find(*given)
        assert (caught.value.status, caught.value.code) == (401, "unknown_source")
