from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.receive.jsontext import MAX_DEPTH, is_deep, may_hold_surrogates, mend_surrogates
from proxy.receive.slices import at_once


@settings(deadline=None)
@given(st.text(st.characters()))
def test_surrogates_are_mended_and_nothing_else(text: str) -> None:
    """Python's own decoder keeps lone surrogates; what it joins to pairs must stay."""
    escaped = json.dumps(text).encode()
    mended = at_once(mend_surrogates(escaped))
    paired = json.loads(escaped)
    assert msgspec.json.decode(mended) == "".join(
        "\ufffd" if "\ud800" <= char <= "\udfff" else char for char in paired
    )
    assert len(mended) == len(escaped)
    assert mended == escaped or may_hold_surrogates(escaped)


@pytest.mark.parametrize(
    ("body", "may"),
    [
        (rb'{"a":"\ud83d"}', True),
        (rb'{"a":"\uDE00"}', True),
        (rb'{"a":"\ud83d\ude00"}', True),
        (rb'{"a":"\/\n\" \u00e4"}', False),
        (b'{"a":"ud83d \xf0\x9f\x98\x80"}', False),
        (b"", False),
    ],
)
def test_only_what_escapes_a_surrogate_is_looked_through(body: bytes, may: bool) -> None:
    assert may_hold_surrogates(body) == may


@pytest.mark.parametrize("level", [('{"a":', "}"), ("[", "]"), ('[{"a":', "}]")])
def test_nesting_is_counted_in_objects_and_lists_alike(level: tuple[str, str]) -> None:
    opening, closing = level
    levels = MAX_DEPTH // len(closing)
    for more, deep in ((0, False), (1, True)):
        nested = opening * (levels + more) + "1" + closing * (levels + more)
        assert is_deep(nested.encode()) == deep
    assert not is_deep(f"[{opening}1{closing}{f',{opening}1{closing}' * MAX_DEPTH}]".encode())
