"""Clients that keep calling until every message is acknowledged, as Segment's SDKs do."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.end_to_end.processes import PATIENCE, SUCCESS, Proxy, Sink, command, until

CLIENTS = 6
BATCH = 5

#: What is to become of a message, by the beginning of its id.
KINDS = ("delivered", "delivered", "delivered", "delivered", "filtered", "refused")


class Load:
    """Numbered messages of a few devices, some to be filtered and some to be refused."""

    def __init__(self, total: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ids = [f"{self.chance.choice(KINDS)}-{number}" for number in range(total)]
        self.acknowledged: set[str] = set()

    def of(self, kind: str) -> set[str]:
        return {id_ for id_ in self.acknowledged if id_.startswith(kind)}

    async def reaches(self, number: int, sending: asyncio.Task[None]) -> None:
        """Waits until so many messages are acknowledged."""
        await until(lambda: len(self.acknowledged) >= number or sending.done())

    async def send(self, proxy: Proxy) -> None:
        """Until all are acknowledged, by whatever process then serves."""
        batches = [self.ids[at : at + BATCH] for at in range(0, len(self.ids), BATCH)]
        async with aiohttp.ClientSession() as session:

            async def client() -> None:
                while batches:
                    batch = batches.pop(0)
                    while not await self._call(session, proxy, batch):  # noqa: ASYNC110  as SDKs
                        await asyncio.sleep(0.02)
                    self.acknowledged.update(batch)

            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(client() for _ in range(CLIENTS)))

    async def _call(self, session: aiohttp.ClientSession, proxy: Proxy, ids: list[str]) -> bool:
        batch = {"writeKey": "wk_acme", "batch": [self._message(id_) for id_ in ids]}
        try:
            async with session.post(f"{proxy.url}/v1/batch", json=batch) as answer:
                return answer.status == 200 and (await answer.json())["success"] is True
        except (aiohttp.ClientError, OSError):
            return False

    def _message(self, id_: str) -> dict[str, Any]:
        return {
            "type": "track",
            "event": "Tested",
            "messageId": id_,
            "anonymousId": f"device-{int(id_.partition('-')[2]) % 7}",
            "properties": {"id": id_},
            "integrations": {"All": not id_.startswith("filtered")},
        }

    def answer(self, fail_rate: float) -> Any:
        """For `Sink.answer`: refuses what is to be refused, fails at random."""

        def answer(body: dict[str, Any]) -> tuple[int, bytes]:
            if self.chance.random() < fail_rate:
                return 503, b""
            if str(body["data"]["event_data"]["id"]).startswith("refused"):
                return 200, b'{"success":"0"}'
            return 200, SUCCESS

        return answer

    async def check(self, proxy: Proxy, kochava: Sink) -> None:
        """Every message ended as it had to, once, and the ledger says the same."""
        counts = await proxy.settles()
        assert self.acknowledged == set(self.ids)
        assert set(kochava.successes()) == self.of("delivered")
        code, letters = await command(
            "dead", "list", "-c", proxy.config, "--limit", "9999", "--json"
        )
        assert code == 0
        buried = [letter["message_id"] for letter in json.loads(letters)["dead"]]
        assert sorted(buried) == sorted(self.of("refused"))
        assert counts["delivered"] == len(self.of("delivered"))
        assert counts["filtered"].get("integrations", 0) == len(self.of("filtered"))
        assert counts["dead"] == len(self.of("refused"))
        assert counts["rejected"] == {}
        assert counts["received"] == len(self.ids) + counts["duplicate"]


@asynccontextmanager
async def sending(load: Load, proxy: Proxy) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(load.send(proxy))
    try:
        yield task
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
