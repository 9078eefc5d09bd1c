"""The postbacks that Kochava would send for the installs which the sandbox received."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Final

import aiohttp

DELAY_SECONDS: Final = 1.0  # as an attribution takes its time
TRIES: Final = 10  # the most that Kochava's settings offer ("Create a Kochava Certified Postback")
MAX_AT_ONCE: Final = 20

#: What installs are attributed to, one of these for each device; the last one is organic.
ATTRIBUTIONS: Final[tuple[dict[str, str], ...]] = (
    {"network_name": "Acme Ads", "campaign": "Spring", "creative": "red-1"},
    {"network_name": "Search & Co", "campaign": "Brand", "content": "acme app"},
    {"attribution": "false"},
)

#: Answers the URL for the postbacks of an app id, without a query; None: it has none.
UrlOf = Callable[[str], str | None]


class Firing:
    """Calls the URL of an app for each of its installs, by GET, until it is answered with 2xx."""

    def __init__(self, url_of: UrlOf, delay_seconds: float = DELAY_SECONDS) -> None:
        """Made inside a running event loop."""
        self._url_of = url_of
        self._delay = delay_seconds
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()

    def installed(self, body: dict[str, Any]) -> None:
        """Hears of an install that was accepted."""
        if url := self._url_of(str(body.get("kochava_app_id"))):
            task = asyncio.create_task(self._fire(url, postback_for(body)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def stop(self) -> None:
        """Gives up what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._session.close()

    async def _fire(self, url: str, parameters: dict[str, str]) -> None:
        for _ in range(TRIES):
            await asyncio.sleep(self._delay)
            async with self._at_once:
                try:
                    # The certificate, if there is one, is made out to a public name.
                    async with self._session.get(url, params=parameters, ssl=False) as answer:
                        if answer.ok:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    continue


def postback_for(body: dict[str, Any]) -> dict[str, str]:
    """The parameters of the postback for an install: the same for the same device, a macro that
    nothing is known for left as it is.
    """
    device_id = str(body.get("kochava_device_id"))
    data = body.get("data")
    data = data if isinstance(data, dict) else {}
    ids = data.get("device_ids")
    ids = ids if isinstance(ids, dict) else {}
    number = hashlib.blake2b(device_id.encode(errors="replace"), digest_size=2).digest()
    said = {
        "event_name": "_install",
        "kochava_device_id": device_id,
        **{key: str(ids.get(key) or f"{{{key}}}") for key in ("idfa", "adid")},
        **ATTRIBUTIONS[int.from_bytes(number) % len(ATTRIBUTIONS)],
    }
    if data.get("usertime"):
        said["event_time"] = str(data["usertime"])
    return said
