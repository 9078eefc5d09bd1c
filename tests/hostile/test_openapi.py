"""schemathesis tries every call of /openapi.json, on a real socket.

What it makes up fits the document, or deliberately does not; what the proxy answers has to fit.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.errors
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.hostile.fuzz import besieged
from tests.hostile.requests import KEY, POSTBACK_TOKEN, TOKEN

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 6  # of each call and each way of generating
#: What the parts of paths have to be, to lead anywhere.
KNOWN = {"key": KEY, "token": TOKEN, "postback_token": POSTBACK_TOKEN}
BASIC = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()

bounded = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    verbosity=Verbosity.quiet,
    suppress_health_check=list(HealthCheck),
)


def _exercise(
    operation: schemathesis.APIOperation[Any, Any, Any, Any],
    mode: schemathesis.GenerationMode,
    tried: list[int],
) -> None:
    @bounded
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def try_it(case: schemathesis.Case[Any], known: bool) -> None:
        if known:
            case.path_parameters.update(
                {name: KNOWN[name] for name in case.path_parameters if name in KNOWN}
            )
        response = case.call(headers={"Authorization": BASIC} if known else None)
        case.validate_response(response, checks=CHECKS)
        tried.append(response.status_code)

    # Where any text will do, there is nothing that would not fit.
    with suppress(hypothesis.errors.Unsatisfiable):
        try_it()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
async def test_every_answer_is_as_documented(
    tmp_path: Path, mode: schemathesis.GenerationMode
) -> None:
    async with besieged(tmp_path) as (proxy, _):
        schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"{proxy.url}/openapi.json")
        tried: list[int] = []
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            await asyncio.to_thread(_exercise, found.ok(), mode, tried)
        assert await proxy.end() == 0
        assert b"Traceback" not in proxy.log.read_bytes()
    assert len(tried) > 100
    assert 200 in tried
