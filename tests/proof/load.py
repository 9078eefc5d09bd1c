"""Clients that behave as SDKs: each repeats a call until it is acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from tests.proof.messages import Device, make_device, make_message
from tests.proof.oracle import Acknowledged, Fate

CALL_SECONDS = 5.0  # that a client waits for an answer
PAUSE_SECONDS = 0.02  # between tries; SDKs wait longer
MAX_BATCH = 8
FATES: Mapping[Fate, float] = {"delivered": 90, "refused": 3, "poisonous": 2, "filtered": 5}


class Load:
    """Several clients at once. `url` says where the proxy is at the moment.

    A device belongs to one client, which sends its next message only when the one before was
    acknowledged: the order of acknowledgements is then that in which they were sent.
    """

    def __init__(
        self,
        seed: int,
        url: Callable[[], str],
        clients: int = 4,
        hot: int = 2,
        cold: float = 0.5,
        fates: Mapping[Fate, float] = FATES,
    ) -> None:
        """Each client has `hot` devices that send for ever; `cold` is the share of the messages
        that are of others, of each a few. `fates` says how often what becomes of a message.
        """
        self.acknowledged: list[Acknowledged] = []
        self.made = 0
        self.refused = 0  # calls that were told to come again
        self._url = url
        self._share_of_cold = cold
        self._fates = fates
        self._chances = [random.Random(f"{seed} {number}") for number in range(clients)]
        self._hot = [[make_device(chance) for _ in range(hot)] for chance in self._chances]
        self._cold: list[list[Device]] = [[] for _ in range(clients)]

    async def send(self, messages: int, *, pause: float = 0.0) -> None:
        """Returns when so many more are acknowledged. `pause` is in seconds, after each call."""
        target = self.made + messages

        async def client(session: aiohttp.ClientSession, number: int) -> None:
            while self.made < target:
                await self._call(session, *self._next(number, target - self.made))
                if pause:
                    await asyncio.sleep(pause)

        async with _session() as session:
            await asyncio.gather(*(client(session, n) for n in range(len(self._chances))))

    async def send_one(self, device: Device, fate: Fate = "delivered") -> Acknowledged:
        """A single message of a device that no client has."""
        message, expected = make_message(random.Random(0), device, fate)
        async with _session() as session:
            await self._call(session, device.write_key, [message], [expected])
        return self.acknowledged[-1]

    def _next(self, number: int, most: int) -> tuple[str, list[dict[str, Any]], list[Acknowledged]]:
        """The write key, a call's messages, and what must become of them."""
        chance = self._chances[number]
        size = 1 if chance.random() < 0.3 else chance.randint(2, MAX_BATCH)
        first = self._device(number)
        messages, expected = [], []
        for place in range(min(size, most)):
            device = self._device(number) if place else first
            if device.source != first.source:
                device = first
            message, acknowledged = make_message(chance, device, self._fate(chance))
            messages.append(message)
            expected.append(acknowledged)
        self.made += len(messages)
        return first.write_key, messages, expected

    def _fate(self, chance: random.Random) -> Fate:
        return chance.choices(list(self._fates), list(self._fates.values()))[0]

    def _device(self, number: int) -> Device:
        """A hot one, a cold one for the second or third time, or a new one."""
        chance, cold = self._chances[number], self._cold[number]
        if chance.random() >= self._share_of_cold:
            return chance.choice(self._hot[number])
        if cold and chance.random() < 0.5:
            return cold.pop(chance.randrange(len(cold)))
        device = make_device(chance)
        cold.append(device)
        return device

    async def _call(
        self,
        session: aiohttp.ClientSession,
        write_key: str,
        messages: list[dict[str, Any]],
        expected: list[Acknowledged],
    ) -> None:
        single = len(messages) == 1
        path = messages[0]["type"] if single else "batch"
        body = {**(messages[0] if single else {"batch": messages}), "writeKey": write_key}
        while not await self._is_acknowledged(session, path, body):  # noqa: ASYNC110  as SDKs
            await asyncio.sleep(PAUSE_SECONDS)
        at = time.monotonic()
        self.acknowledged += [
            Acknowledged(each.id, each.fate, each.device, each.content, at) for each in expected
        ]

    async def _is_acknowledged(
        self, session: aiohttp.ClientSession, path: str, body: dict[str, Any]
    ) -> bool:
        try:
            async with session.post(f"{self._url()}/v1/{path}", json=body) as answer:
                await answer.read()
                assert answer.status in (200, 429, 503), answer
                self.refused += answer.status != 200
                return answer.status == 200
        except (aiohttp.ClientError, OSError):  # and a time-out, which is one
            return False


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_SECONDS))
