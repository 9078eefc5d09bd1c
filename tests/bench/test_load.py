"""The load sends what the product takes, and tells what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
from aiohttp import web

from bench.load import Load, send
from bench.mapping import config, events, pipeline
from bench.messages import bodies, message
from proxy.decode import Wire
from proxy.states import Deliver


@asynccontextmanager
async def server(answer: Callable[[bytes], web.Response]) -> AsyncIterator[int]:
    """A port where each body is answered so; gzip is undone."""

    async def handle(request: web.Request) -> web.Response:
        assert request.headers["Authorization"].startswith("Basic ")
        return answer(await request.read())

    app = web.Application(client_max_size=10**6)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def ids(body: bytes) -> list[str]:
    if b'"batch"' not in body:
        return [str(msgspec.json.decode(body)["messageId"])]
    return [str(each["messageId"]) for each in msgspec.json.decode(body)["batch"]]


async def test_refused_requests_are_told_by_status_and_their_messages_not_as_accepted() -> None:
    statuses = iter([200, 503, 429, 503] * 5)
    async with server(lambda _: web.Response(status=next(statuses), body=b"{}")) as port:
        sent = await send([], port, "/v1/track", number=20, connections=4)
    assert (sent.answered, sent.accepted, sent.refused) == (5, 5, {503: 10, 429: 5})
    assert sent.broken == 0
    assert sent.ended > sent.began


@pytest.mark.parametrize("gzipped", [False, True])
async def test_each_message_is_sent_once_and_the_last_batch_may_be_short(gzipped: bool) -> None:
    got: Counter[str] = Counter()

    def answer(body: bytes) -> web.Response:
        got.update(ids(body))
        return web.Response()

    async with server(answer) as port:
        sent = await send(
            [], port, "/v1/batch", first=7, number=25, batch=10, connections=2, gzipped=gzipped
        )
    assert (sent.answered, sent.accepted) == (3, 25)
    assert got == Counter(ids(message("tracks", each))[0] for each in range(7, 32))


async def test_at_a_rate_it_sends_when_it_is_due_and_ends_when_told() -> None:
    loads: list[Load] = []
    seen = 0

    def answer(_: bytes) -> web.Response:
        nonlocal seen
        seen += 1
        if seen == 20:
            loads[0].stop()
        return web.Response()

    async with server(answer) as port:
        sent = await send(
            loads, port, "/v1/track", number=10_000, connections=2, rate=200, seconds=30
        )
    assert loads == []
    assert 20 <= sent.accepted == len(sent.due) == len(sent.took) < 100
    steps = {
        round(after - before, 6) for before, after in zip(sent.due, sent.due[1:], strict=False)
    }
    assert steps == {0.005}


async def test_it_ends_where_nobody_answers() -> None:
    def cut(request: bytes) -> web.Response:
        raise ConnectionError(request)

    async with server(partial(cut)) as port:
        sent = await send([], port, "/v1/track", number=10, connections=2)
    assert sent.accepted == 0
    assert sent.refused == {500: 2}
    assert sent.broken == 2


@pytest.mark.parametrize(
    ("kind", "devices"), [("tracks", 288), ("mapped", 288), ("newcomers", 2_500)]
)
def test_every_message_is_taken_and_leads_to_a_request(kind: str, devices: int) -> None:
    stored = events(kind, 2_500)
    assert len({event.message_id for event in stored}) == 2_500
    assert len({event.device for event in stored}) == devices
    assert not any(event.computed for event in stored)
    prepare = pipeline().prepare
    assert all(isinstance(prepare(event).decision, Deliver) for event in stored)


def test_messages_are_about_a_kilobyte() -> None:
    sizes = [len(message("tracks", each)) for each in range(4)]
    assert 900 < sum(sizes) / len(sizes) < 1_300


def test_members_of_an_audience_are_the_users_that_newcomers_have_taught() -> None:
    decode = msgspec.json.Decoder(Wire).decode
    taught = {decode(message("newcomers", each)).user_id for each in range(3)}
    (body,) = bodies("members", 1_000, 9, 100, users=3)
    members = [decode(msgspec.json.encode(each)) for each in msgspec.json.decode(body)["batch"]]
    assert {member.user_id for member in members} == taught
    assert len({member.message_id for member in members}) == 9
    prepare = pipeline().prepare
    for event in events("newcomers", 3):
        prepare(event)
    links = [prepare(event).decision for event in events("members", 1)]
    assert all(isinstance(each, Deliver) for each in links)


def test_the_proxies_have_what_ships_but_for_what_a_run_needs() -> None:
    shipped, changed = type(config())(), config()
    assert changed.delivery == shipped.delivery
    assert changed.identities == shipped.identities
    assert changed.server.max_connections_per_address == 0
