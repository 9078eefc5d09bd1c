"""JSON as the text it came as: mended, and looked at for its nesting, before it is decoded."""

from __future__ import annotations

import re
from typing import Final

from proxy.receive.slices import SLICE_PIECES, Sliced

#: Of a message. The decoder gives up only at the interpreter's limit, which differs by version, and
#: what is read at the edge of it may not be written again.
MAX_DEPTH: Final = 200
BATCH_ITEM_DEPTH: Final = 3  # {"batch": [{ ... }]}
ARRAY_ITEM_DEPTH: Final = 2  # [{ ... }]

# Single bytes are found at many times the speed of anything else.
_BACKSLASH: Final = ord("\\")
_LIST: Final = ord("[")
_SURROGATE = re.compile(rb"\\u[dD]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
# A string without its end still is one token: looking for it again from every escaped quote in it
# would take hours. Brackets come in runs, since half a megabyte of them would else take long too.
_STRING: Final = rb'"(?:[^"\\]|\\.)*+"?'
_TOKENS = re.compile(_STRING + rb"|[\[{]+|[\]}]+", re.DOTALL)
_OPENING: Final = b"[{"
_CLOSING: Final = b"]}"
_STEPS: Final = dict.fromkeys(_OPENING, 1) | dict.fromkeys(_CLOSING, -1)


def may_hold_surrogates(body: bytes) -> bool:
    """Whether a surrogate may be escaped in it, be it alone or one of a pair."""
    return _BACKSLASH in body and _SURROGATE.search(body) is not None


def mend_surrogates(body: bytes) -> Sliced[bytes]:
    """JSON with every unpaired surrogate escape replaced by U+FFFD.

    JavaScript writes them when a string is cut inside an emoji. They are valid JSON (RFC 8259,
    section 8.2) that no UTF-8 text can hold; refusing them would lose the whole batch.
    """
    kept: list[bytes] = []
    end = 0
    for number, match in enumerate(_ESCAPE.finditer(body), 1):
        if match["lone"]:
            kept += (body[end : match.start()], b"\\ufffd")
            end = match.end()
        if not number % SLICE_PIECES:
            yield
    return b"".join((*kept, body[end:]))


def is_deep(raw: bytes) -> bool:
    """Whether a message is nested beyond what any real one is."""
    brackets = raw.count(b"{")
    if _LIST in raw:  # most have none
        brackets += raw.count(b"[")
    if brackets <= MAX_DEPTH:
        return False
    depth = 0
    for token in _TOKENS.finditer(raw):
        depth += _STEPS.get(raw[token.start()], 0) * (token.end() - token.start())
        if depth > MAX_DEPTH:
            return True
    return False


def without_deep_items(body: bytes, item_depth: int = BATCH_ITEM_DEPTH) -> Sliced[bytes]:
    """JSON in which every item of an outer list that is nested too deeply is null, so that one
    such message is refused by itself and does not make the whole batch unreadable.
    """
    kept: list[bytes] = []
    depth = deepest = begin = end = 0
    for number, token in enumerate(_TOKENS.finditer(body), 1):
        at, before = token.start(), depth
        if body[at] in _OPENING:
            depth += token.end() - at
            if before < item_depth <= depth:
                begin, deepest = at + item_depth - before - 1, 0
            deepest = max(deepest, depth)
        elif body[at] in _CLOSING:
            depth -= token.end() - at
            if depth < item_depth <= before and deepest > MAX_DEPTH:
                kept += (body[end:begin], b"null")
                end, deepest = at + before - item_depth + 1, 0
        if not number % SLICE_PIECES:
            yield
    return b"".join((*kept, body[end:]))


def first_item(body: bytes) -> bytes:
    """The first element of an array, byte for byte; nothing if it is no object and no list."""
    begin = body.index(b"[") + 1
    depth = 0
    for token in _TOKENS.finditer(body, begin):
        if not depth and (
            body[token.start()] not in _OPENING or body[begin : token.start()].strip()
        ):
            break
        depth += _STEPS.get(token[0][0], 0) * len(token[0])
        if depth <= 0:
            return body[begin : token.end() + depth].strip()
    return b""
