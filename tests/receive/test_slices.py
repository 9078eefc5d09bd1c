"""Long work gives way to others, and comes to the same end."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.errors import RequestRefused
from proxy.receive.intake import MAX_BATCH, Intake, read_batch, take_batch
from proxy.receive.slices import LONG_BYTES, SHORT_SECONDS, Sliced, Turns, at_once
from tests.receive.conftest import Door, track
from tests.support import NOW, FakeClock


def named(name: str, slices: int, said: list[str]) -> Sliced[str]:
    for number in range(slices):
        said.append(f"{name}{number}")
        if number + 1 < slices:
            yield
    return name


async def test_short_work_passes_long_which_goes_one_by_one() -> None:
    turns, said = Turns(FakeClock()), list[str]()
    works = [named("a", 3, said), named("b", 3, said), named("c", 1, said)]
    assert await asyncio.gather(*map(turns.run, works)) == ["a", "b", "c"]
    assert said == ["a0", "b0", "c0", "a1", "a2", "b1", "b2"]


async def test_long_work_pauses_while_there_is_short_work_and_no_longer() -> None:
    clock = FakeClock()
    turns, said = Turns(clock, pause_seconds=0.02), list[str]()
    loop = asyncio.get_running_loop()

    async def seconds() -> float:
        began = loop.time()
        await turns.run(named("a", 3, said))
        return loop.time() - began

    assert await seconds() < 0.02
    turns.short()
    assert await seconds() >= 0.04
    await clock.advance(SHORT_SECONDS)
    assert await seconds() < 0.02


@pytest.mark.parametrize(
    ("size", "short", "at_once"),
    [(LONG_BYTES, True, 1), (LONG_BYTES, False, 3), (LONG_BYTES - 1, True, 3)],
)
async def test_long_bodies_come_one_after_the_other_while_there_is_short_work(
    size: int, at_once: int, *, short: bool
) -> None:
    turns, now, most = Turns(FakeClock()), 0, 0
    if short:
        turns.short()

    async def work() -> None:
        nonlocal now, most
        async with turns.alone(size):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(work() for _ in range(3)))
    assert most == at_once


async def test_work_that_fails_or_is_given_up_leaves_the_turn_to_others() -> None:
    def failing() -> Sliced[str]:
        yield
        raise RequestRefused(400, "bad_request", "no")

    turns, said = Turns(FakeClock()), list[str]()
    with pytest.raises(RequestRefused):
        await turns.run(failing())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await turns.run(named("a", 100, said))
    assert len(said) < 100
    assert await turns.run(named("b", 2, said)) == "b"


def slices(work: Sliced[object]) -> int:
    """Into how many it falls."""
    number = 1
    for _ in work:
        number += 1
    return number


SMALL = json.dumps(track()).encode()
NESTED = b"[" * 1_500 + b"]" * 1_500


def batch_of(item: bytes, size: int = MAX_BATCH) -> bytes:
    """A body of about `size` bytes."""
    return b'{"batch":[' + b",".join([item] * (size // (len(item) + 1))) + b"]}"


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(SMALL, id="small messages"),
        pytest.param(b'{"a":[' + b",".join([b"[]"] * 10_000) + b"]}", id="many brackets"),
        pytest.param(b'{"a":' * 1_500 + b"1" + b"}" * 1_500, id="deep ones"),
        pytest.param(NESTED + b"," + b",".join([b"[]"] * 5_000), id="a deep one, many brackets"),
        pytest.param(b'"' + b"\\ud800" * 1_000 + b'"', id="lone surrogates"),
        pytest.param(b'"\\ud800' + b'\\"' * 5_000 + b'"', id="escapes"),
    ],
)
def test_the_heaviest_bodies_fall_into_many_slices(item: bytes) -> None:
    body = batch_of(item)

    def taken() -> Sliced[Intake]:
        batch = yield from read_batch(body)
        intake = yield from take_batch(batch, "acme", NOW, None, lambda: "made")
        return intake

    assert slices(taken()) >= 6


def test_a_usual_batch_is_one_slice() -> None:
    body = b'{"batch":[' + b",".join([json.dumps(track(pad="x" * 800)).encode()] * 20) + b"]}"
    batch = at_once(read_batch(body))
    assert slices(read_batch(body)) == 1
    assert slices(take_batch(batch, "acme", NOW, None, lambda: "made")) == 1


async def test_messages_of_a_long_batch_keep_their_order(door: Door) -> None:
    batch = [track(f"m-{number}", pad="x" * 300) for number in range(1_000)]
    assert (await door.post("/v1/batch", {"batch": batch})).status == 200
    assert [json.loads(raw)["messageId"] for raw in door.raws()] == [
        message["messageId"] for message in batch
    ]
