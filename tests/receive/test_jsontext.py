from __future__ import annotations

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.receive.jsontext import mend_surrogates
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
