"""A Kochava that answers badly, in every way: what was acknowledged arrives all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proof.faults import Mixed, everything
from tests.proof.trial import TIMEOUT, WORKERS, trial

pytestmark = pytest.mark.parametrize("workers", WORKERS)


@pytest.mark.parametrize("transport", ["aiohttp", "curl"])
async def test_any_mix_of_bad_answers_loses_and_reorders_nothing(
    tmp_path: Path, workers: int, transport: str
) -> None:
    async with trial(tmp_path, 1, workers, transport=transport) as proof:
        proof.sink.plan = Mixed(proof.chance, 20, everything(TIMEOUT), unread=3)
        async with proof.sending(400):
            pass
        await proof.holds()
