from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.deliver.signing import php_json, sign

BODY = (
    rb'{"action":"install","kochava_app_id":"koacme-ios-x1y2z3","kochava_device_id":"dev-0001",'
    rb'"data":{"origination_ip":"203.0.113.9","device_ua":"Mozilla\/5.0 (iPhone)","device_ver":"",'
    rb'"device_ids":{"idfv":"6D1E8F6A-0A57-4C39-9D53-0B1B7A9F2C10"}}}'
)


def test_the_token_is_the_hmac_of_secret_and_digest_keyed_with_the_api_key() -> None:
    # Worked out with OpenSSL by the recipe of Kochava, "Install Authentication Integration".
    assert sign(BODY, "demo-api-key", "demo-secret") == {
        "Kochava-Api-Key": "demo-api-key",
        "Kochava-Auth-Token": "d0dae6f64350d9f1b853530d87a561504ff4cc1499118fa4057b7b9932634b13",
    }


def test_a_body_that_php_wrote_stays_as_it_is() -> None:
    assert php_json(BODY) == BODY


@pytest.mark.parametrize(
    ("plain", "php"),
    [
        pytest.param('{"a": "b/c"}', r'{"a":"b\/c"}', id="slash, and no space"),
        pytest.param(r'{"a":"b\/c"}', r'{"a":"b\/c"}', id="slash escaped already"),
        pytest.param('{"é":"Ü"}', r'{"\u00e9":"\u00dc"}', id="beyond ASCII"),
        pytest.param('{"a":"😀"}', r'{"a":"\ud83d\ude00"}', id="beyond 16 bits"),
        pytest.param(r'{"a":"\u2028\n\t\u0001"}', r'{"a":"\u2028\n\t\u0001"}', id="control"),
        pytest.param('{"a":9.99}', '{"a":9.99}', id="a fraction"),
        pytest.param('{"a":0.1}', '{"a":0.1}', id="a fraction without binary form"),
        # PHP manual, json_encode: JSON_PRESERVE_ZERO_FRACTION is off by default.
        pytest.param('{"a":10.0,"b":-0.5}', '{"a":10,"b":-0.5}', id="no zero fraction"),
        pytest.param('{"a":1767225600}', '{"a":1767225600}', id="an integer"),
        pytest.param('{"b":1,"a":[true,null]}', '{"b":1,"a":[true,null]}', id="order kept"),
    ],
)
def test_a_body_is_written_as_php_writes_it(plain: str, php: str) -> None:
    assert php_json(plain.encode()).decode() == php


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
    | st.floats(-1e14, 1e14, allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_written_anew_it_means_the_same_and_only_ascii_is_used(value: dict[str, object]) -> None:
    written = php_json(msgspec.json.encode(value))
    assert json.loads(written) == value
    assert written.isascii()
    assert b"/" not in written.replace(rb"\/", b"")
