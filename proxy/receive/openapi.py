"""The document at /openapi.json: every way in, for tools, and for tests that try them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec
from aiohttp import web

from proxy.decode import MAX_MESSAGE_ID
from proxy.postback import NAMES
from proxy.receive.intake import MAX_BATCH, MAX_MESSAGE
from proxy.receive.tracking import BATCH_PATHS, METRICS_PATH, SINGLE_PATHS

PATH: Final = "/openapi.json"

_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"


def _as_json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {_JSON: {"schema": schema}}


def _ref(schema: str) -> str:
    return f"#/components/schemas/{schema}"


_OBJECT: Final = _as_json({"type": "object"})
_REFUSED: Final = _as_json({"$ref": _ref("Refusal")})
_SUCCESS: Final = _as_json({"type": "object", "properties": {"success": {"const": True}}})
_IMAGE: Final[dict[str, Any]] = {"image/gif": {}}
_SCRIPT: Final = {"application/javascript": {}, **_SUCCESS}
_DATA: Final = ("data", "writeKey")  # a message as base64; or each of its parts by a dotted name
_JSONP: Final = (*_DATA, "callback")
# The last: in the body, which OpenAPI cannot say.
_KEY: Final[list[dict[str, list[str]]]] = [{"basic": []}, {"query": []}, {}]
_MESSAGE: Final = {
    "type": "object",
    "properties": {
        "writeKey": {"type": "string"},
        "type": {"enum": ["track", "identify", "page", "screen", "group", "alias"]},
        "messageId": {"type": ["string", "null"], "maxLength": MAX_MESSAGE_ID - 1},
        "userId": {"type": ["string", "null"]},
        "anonymousId": {"type": ["string", "null"]},
        "event": {"type": "string"},
        "name": {"type": ["string", "null"]},
        "groupId": {"type": "string"},
        "previousId": {"type": "string"},
        "properties": {"type": ["object", "null"]},
        "traits": {"type": ["object", "null"]},
        "context": {"type": ["object", "null"]},
        "integrations": {"type": ["object", "null"]},
        "timestamp": {"type": ["string", "null"]},
        "sentAt": {"type": ["string", "null"]},
    },
}
_BATCH: Final = {
    "type": "object",
    "required": ["batch"],
    "properties": {
        "batch": {"type": "array", "items": {"$ref": _ref("Message")}},
        "writeKey": {"type": "string"},
        "sentAt": {"type": ["string", "null"]},
        "context": {"type": "object"},
        "integrations": {"type": "object"},
    },
}
_POSTBACK: Final = {
    "type": "object",
    "properties": {name: {"type": ["string", "number", "boolean", "null"]} for name in NAMES},
}
_REFUSAL: Final = {
    "type": "object",
    "required": ["success", "code", "message"],
    "properties": {
        "success": {"const": False},
        "code": {"type": "string"},
        "message": {"type": "string"},
    },
}


def document() -> dict[str, Any]:
    """The whole API as OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for name, type_ in SINGLE_PATHS.items():
        what = f"One {type_} call, at most {MAX_MESSAGE} bytes"
        paths[f"/v1/{name}"] = {
            "post": _operation(what, body="Message", keyed=True),
            "get": _operation(f"{what}, as JSONP", query=_JSONP, keyed=True, answer=_SCRIPT),
        }
    what = "One call of the type that the path names, as an image, whatever becomes of it"
    pixel = _operation(what, path="type", query=_DATA, answer=_IMAGE)
    paths["/v1/pixel/{type}"] = {"get": pixel}
    for name in BATCH_PATHS:
        what = f"Many calls, at most {MAX_BATCH} bytes once inflated"
        paths[f"/v1/{name}"] = {"post": _operation(what, body="Batch", keyed=True)}
    metrics = _operation("Counters of an SDK about itself: dropped", body="Anything")
    paths[f"/v1/{METRICS_PATH}"] = {"post": metrics}
    settings = _operation("What SDKs load before they send", path="key", answer=_OBJECT)
    paths["/v1/projects/{key}/settings"] = {"get": settings}
    webhook = _operation("Segment's Webhook destination", body="Anything", path="token")
    paths["/webhooks/segment/{token}"] = dict.fromkeys(("post", "put", "patch"), webhook)
    what = f"Kochava's postback of an install, at most {MAX_MESSAGE} bytes"
    paths["/postbacks/kochava/{postback_token}"] = {
        "get": _operation(what, path="postback_token", query=tuple(NAMES)),
        "post": _operation(
            what, body="Postback", types=(_JSON, _FORM), path="postback_token", query=tuple(NAMES)
        ),
    }
    for name in ("live", "ready"):
        what = f"Whether this process is {name}"
        paths[f"/health/{name}"] = {"get": _operation(what, answer=_OBJECT, refused=_OBJECT)}
    paths[PATH] = {"get": _operation("This document", answer=_OBJECT)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "kochava-proxy", "version": version("kochava-proxy")},
        "paths": paths,
        "components": {
            "schemas": {
                "Message": _MESSAGE,
                "Batch": _BATCH,
                "Postback": _POSTBACK,
                "Refusal": _REFUSAL,
                "Anything": {},
            },
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "The key as user name"},
                "query": {"type": "apiKey", "in": "query", "name": "writeKey"},
            },
        },
    }


def _operation(
    summary: str,
    *,
    body: str = "",
    types: Sequence[str] = (_JSON,),
    path: str = "",
    query: Sequence[str] = (),
    keyed: bool = False,
    answer: Mapping[str, Any] = _SUCCESS,
    refused: Mapping[str, Any] = _REFUSED,
) -> dict[str, Any]:
    """One call. `body` names a schema, for content of these `types`; `path` and `query` name
    parameters; `keyed` asks for a key.
    """
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": [
            *({"name": name, "in": "query", "schema": {"type": "string"}} for name in query),
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
              for name in [path] if name),
        ],
        "responses": {
            "200": {"description": "Done", "content": answer},
            "default": {"description": "Refused, and why", "content": refused},
        },
    }  # fmt: skip
    if body:
        content = {type_: {"schema": {"$ref": _ref(body)}} for type_ in types}
        operation["requestBody"] = {"content": content}
    if keyed:
        operation["security"] = _KEY
    return operation


def add_routes(app: web.Application) -> None:
    """Serves the document."""
    body = msgspec.json.encode(document())

    async def show(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=_JSON)

    app.router.add_get(PATH, show)
