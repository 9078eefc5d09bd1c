"""Both HTTP clients, for the tests that both must pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from proxy.deliver import multi
from proxy.deliver.curl import CurlTransport
from proxy.deliver.transport import AiohttpTransport, Transport
from proxy.deliver.watch import LoopWatch


class Make(Protocol):
    def __call__(
        self,
        timeout_seconds: float = 5,
        max_connections: int = 4,
        proxy: str = "",
        ca_file: str = "",
    ) -> Transport: ...


KINDS = ("aiohttp", "curl", "curl without epoll")


def make_transport(
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    timeout_seconds: float = 5,
    max_connections: int = 4,
    proxy: str = "",
    ca_file: str = "",
) -> Transport:
    if kind == "curl without epoll":
        monkeypatch.setattr(multi, "make_watch", LoopWatch)
    class_ = AiohttpTransport if kind == "aiohttp" else CurlTransport
    return class_(timeout_seconds, max_connections, proxy, ca_file)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def make(kind: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    made: list[Transport] = []

    def make_one(
        timeout_seconds: float = 5, max_connections: int = 4, proxy: str = "", ca_file: str = ""
    ) -> Transport:
        given = timeout_seconds, max_connections, proxy, ca_file
        made.append(make_transport(kind, monkeypatch, *given))
        return made[-1]

    yield make_one
    for each in made:
        await each.close()


@pytest.fixture
async def transport(make: Make) -> Transport:
    return make()
