"""The document at /openapi.json says what is served, all of it and nothing else."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from aiohttp import ClientResponse, web

from proxy.receive.openapi import PATH, document
from tests.receive.conftest import KEY, Door, OpenDoor, track
from tests.support import make_config

OWN = ("/v1/", "/webhooks/", "/postbacks/", "/health/", PATH)


def spelt_in_full(path: str) -> str:
    """The one spelling of a path that the document lists."""
    path = path.rstrip("/")
    return path if path.startswith(OWN) else f"/v1{path}"


async def test_it_lists_every_route_there_is_and_no_other(door: Door) -> None:
    runner = door.client.server.runner
    assert isinstance(runner, web.AppRunner)
    served = {
        (route.method.lower(), spelt_in_full(route.resource.canonical))
        for route in runner.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    listed = {(method, path) for path, item in document()["paths"].items() for method in item}
    assert listed == served


async def test_it_is_served_as_it_is(door: Door) -> None:
    answer = await door.client.get(PATH)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert await answer.json() == document()


def test_it_is_openapi() -> None:
    """By the schema of OpenAPI 3.1 itself, which schemathesis carries."""
    schemathesis.openapi.from_dict(document()).validate()
    broken = copy.deepcopy(document())
    broken["paths"]["/v1/track"]["post"]["responses"] = 7
    with pytest.raises(Exception, match="7 is not of type"):
        schemathesis.openapi.from_dict(broken).validate()


def test_its_schemas_are_schemas_and_its_references_lead_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)
    named = set(json.dumps(document()).split('"#/components/schemas/')[1:])
    assert {name.partition('"')[0] for name in named} <= set(schemas)
    assert set(document()["components"]["securitySchemes"]) == {
        scheme
        for item in document()["paths"].values()
        for operation in item.values()
        for need in operation.get("security", [])
        for scheme in need
    }


def test_the_parameters_of_a_path_are_those_in_its_braces() -> None:
    for path, item in document()["paths"].items():
        for operation in item.values():
            named = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert named == re.findall(r"\{(\w+)\}", path)


async def assert_as_documented(answer: ClientResponse, path: str) -> None:
    """That the document foresees this answer: its type, and if it is JSON, its shape."""
    path = re.sub(r"^(/v1/pixel)/\w+$", r"\1/{type}", path)
    responses = document()["paths"][path][answer.method.lower()]["responses"]
    content = responses.get(str(answer.status), responses["default"])["content"]
    assert answer.content_type in content
    if answer.content_type == "application/json":
        schema = {"components": document()["components"], **content["application/json"]["schema"]}
        jsonschema_rs.validate(schema, await answer.json())


TOKEN = "t0ken"
FINE = [
    ("POST", "/v1/track", "", track()),
    ("POST", "/v1/t", "", track()),
    ("POST", "/v1/b", "", {"batch": [track()]}),
    ("POST", "/v1/m", "", {}),
    ("GET", "/v1/t", "?userId=u&event=E&callback=f", None),
    ("GET", "/v1/t", "?userId=u&event=E", None),
    ("GET", "/v1/pixel/page", "", None),
    ("GET", "/v1/projects/{key}/settings", "", None),
    ("PATCH", "/webhooks/segment/{token}", "", [track()]),
    ("GET", "/postbacks/kochava/{postback_token}", "?idfa=I-1", None),
    ("POST", "/postbacks/kochava/{postback_token}", "", {"idfa": "I-1", "attribution": False}),
    ("GET", "/health/live", "", None),
    ("GET", "/health/ready", "", None),
    ("GET", "/openapi.json", "", None),
]


def _ids(cases: list[tuple[str, str, str, Any]]) -> list[str]:
    return [f"{method} {path}{query}" for method, path, query, _ in cases]


@pytest.mark.parametrize(("method", "path", "query", "body"), FINE, ids=_ids(FINE))
async def test_what_is_taken_is_answered_as_documented(
    open_door: OpenDoor, method: str, path: str, query: str, body: Any
) -> None:
    tokens = {"webhook_token": TOKEN, "postback_token": TOKEN, "segment_write_key": "wk_segment"}
    door = await open_door(make_config(tokens))
    place = path.format(key=KEY, token=TOKEN, postback_token=TOKEN) + query
    separator = "&" if query else "?"
    answer = await door.client.request(method, f"{place}{separator}writeKey={KEY}", json=body)
    assert answer.status == 200
    await assert_as_documented(answer, path)


REFUSED = [case for case in FINE if case[1] not in {"/health/live", "/openapi.json"}]


@pytest.mark.parametrize(("method", "path", "query", "body"), REFUSED, ids=_ids(REFUSED))
async def test_what_is_refused_is_answered_as_documented(
    open_door: OpenDoor, method: str, path: str, query: str, body: Any
) -> None:
    """Above the high-water mark, not ready, and with secrets that nobody knows."""
    door = await open_door(make_config(spool={"high_water_megabytes": 0.000_001}))
    door.not_ready = "stopping"
    place = path.format(key="wk_other", token="other", postback_token="other") + query
    answer = await door.client.request(method, place, json=body)
    # A pixel is always shown; counters of SDKs are not kept, so that they need no room.
    always = "pixel" in path or path == "/v1/m"
    assert answer.status in ({200} if always else {404, 429, 503})
    await assert_as_documented(answer, path)


@pytest.mark.parametrize(("over", "kept"), [(0, True), (1, False)], ids=["longest", "one more"])
async def test_a_message_id_may_be_as_long_as_it_says(door: Door, over: int, kept: bool) -> None:
    message = document()["components"]["schemas"]["Message"]
    longest = message["properties"]["messageId"]["maxLength"]
    await door.post("/v1/track", track("m" * (longest + over)))
    assert door.counts().pending == kept


NULLS = {
    "messageId": None, "userId": "u", "anonymousId": None, "properties": None, "traits": None,
    "context": None, "integrations": None, "timestamp": None, "sentAt": None, "name": None,
    "event": "E",
}  # fmt: skip


async def test_the_nulls_that_clients_send_are_in_its_schema(door: Door) -> None:
    """Engage sends `sentAt: null`; Segment's own examples `anonymousId: null`."""
    schemas = document()["components"]["schemas"]
    jsonschema_rs.validate(schemas["Message"], NULLS)
    await door.post("/v1/track", NULLS)
    assert door.counts().pending == 1
