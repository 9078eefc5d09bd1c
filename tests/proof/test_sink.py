"""The sink misbehaves as it says, and knows what a caller takes for an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from proxy.deliver.curl import CurlTransport
from proxy.deliver.outcome import judge
from proxy.deliver.transport import AiohttpTransport, Transport
from proxy.errors import TransportError
from proxy.states import Outgoing
from tests.deliver.servers import send
from tests.proof.faults import DOWN, GOOD, Answer, always, by_app, everything
from tests.proof.sink import Sink, listening
from tests.support import NOW

TIMEOUT = 0.3

TRACK: dict[str, Any] = {
    "action": "event",
    "kochava_app_id": "koacme",
    "kochava_device_id": "d-1",
    "data": {"app_version": "m-1", "event_name": "Tested", "event_data": {"said": "é"}},
}
LINK: dict[str, Any] = {
    "kochava_app_id": "koacme",
    "device_id": {"idfv": "d-1"},
    "data": {"proof_id": "m-1"},
}


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with listening() as sink:
        yield sink


@pytest.fixture(params=[AiohttpTransport, CurlTransport])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    transport: Transport = request.param(TIMEOUT, 5)
    yield transport
    await transport.close()


async def sent(transport: Transport, sink: Sink, body: dict[str, Any]) -> str:
    """What the proxy makes of the answer."""
    outgoing = Outgoing("POST", sink.url, {}, msgspec.json.encode(body))
    try:
        reply = await send(transport, outgoing)
    except TransportError:
        return "retry"
    return judge(reply, NOW, "track" if body is TRACK else "link").kind


@pytest.mark.parametrize("body", [TRACK, LINK], ids=["track", "link"])
@pytest.mark.parametrize("answer", [GOOD, *everything(TIMEOUT)], ids=lambda it: it.name)
async def test_it_counts_as_success_what_the_proxy_does(
    sink: Sink, transport: Transport, answer: Answer, body: dict[str, Any]
) -> None:
    sink.plan = always(answer)
    kind = await sent(transport, sink, body)
    (request,) = sink.requests
    assert kind in ("delivered", "retry")
    assert (request.final, request.success) == (
        (True, True) if kind == "delivered" else (False,) * 2
    )
    sink.plan = always(GOOD)
    assert await sent(transport, sink, body) == "delivered"


async def test_it_refuses_what_is_to_be_refused(sink: Sink, transport: Transport) -> None:
    body = {**TRACK, "data": {**TRACK["data"], "app_version": "refused-1"}}
    outgoing = Outgoing("POST", sink.url, {}, msgspec.json.encode(body))
    assert judge(await send(transport, outgoing), NOW, "track").kind == "refused"
    assert [(it.final, it.success) for it in sink.requests] == [(True, False)]


async def test_it_goes_down_and_comes_up_at_the_same_place(
    sink: Sink, transport: Transport
) -> None:
    assert await sent(transport, sink, TRACK) == "delivered"
    await sink.down()
    assert await sent(transport, sink, TRACK) == "retry"
    await sink.up()
    assert await sent(transport, sink, TRACK) == "delivered"
    assert len(sink.requests) == 2


async def test_it_misbehaves_for_one_app_alone(sink: Sink, transport: Transport) -> None:
    sink.plan = by_app({"koacme": DOWN})
    assert await sent(transport, sink, TRACK) == "retry"
    other = {**LINK, "kochava_app_id": "other"}
    assert await sent(transport, sink, other) == "delivered"
