"""Order per device, among what is in flight."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.deliver.lanes import Lanes, device_keys
from proxy.kochava import IdentityLink, KochavaRequest
from proxy.states import Outgoing, Planned

NOTHING = Outgoing("POST", "", {}, b"")


def of(kochava_device_id: str, **ids: Any) -> Planned:
    request = KochavaRequest(
        action="event",
        kochava_app_id="app",
        kochava_device_id=kochava_device_id,
        data={"device_ids": ids},
    )
    return Planned(request, NOTHING)


def link(**ids: str) -> Planned:
    return Planned(IdentityLink(device_id=ids, data={"app_userid": "u"}), NOTHING)


def test_an_event_and_a_link_of_one_device_share_a_key() -> None:
    event = device_keys("acme", [of("dev-1", idfa="A", idfv="V")])
    assert event & device_keys("acme", [link(idfv="V")])
    assert not event & device_keys("acme", [link(idfv="W")])
    assert not event & device_keys("other", [link(idfv="V")])


def test_an_id_that_is_not_there_joins_nobody() -> None:
    assert device_keys("acme", [of("", idfa="")]) == set()
    assert device_keys("acme", []) == set()


def test_whatever_a_plugin_puts_where_ids_belong_makes_no_fault() -> None:
    assert device_keys("acme", [of("dev-1", idfa=["A"], idfv={"x": 1}, adid=7)]) >= {"acme\0dev-1"}
    odd = Planned(
        KochavaRequest(
            action="event", kochava_app_id="a", kochava_device_id="d", data={"device_ids": ["A"]}
        ),
        NOTHING,
    )
    assert device_keys("acme", [odd]) == {"acme\0d"}


class Model:
    """Events that begin when the lanes let them and end when told."""

    def __init__(self) -> None:
        self.lanes = Lanes()
        self.keys: list[frozenset[str]] = []
        self.begun: list[int] = []
        self.ended: set[int] = set()
        self.gates: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    def enter(self, keys: frozenset[str]) -> None:
        number, gate = len(self.tasks), asyncio.Event()

        async def handle(ahead: set[asyncio.Task[None]]) -> None:
            if ahead:
                await asyncio.wait(ahead)
            self.begun.append(number)
            await gate.wait()
            self.ended.add(number)

        task = asyncio.create_task(handle(self.lanes.ahead(keys)))
        self.lanes.enter(keys, task)
        self.keys.append(keys)
        self.gates.append(gate)
        self.tasks.append(task)

    async def settle_down(self) -> None:
        """Until nothing more happens by itself: a chain of all events is the longest."""
        for _ in range(4 * len(self.tasks) + 4):
            await asyncio.sleep(0)

    def may_run(self) -> set[int]:
        """What the rule says: all that come before it and share a key have ended."""
        return {
            number
            for number, keys in enumerate(self.keys)
            if all(before in self.ended for before in range(number) if self.keys[before] & keys)
        }


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.frozensets(st.sampled_from("abcd"), max_size=3) | st.integers(0, 5), max_size=20
    )
)
def test_in_every_interleaving_an_event_begins_when_and_only_when_those_before_it_have_ended(
    steps: list[frozenset[str] | int],
) -> None:
    """A set enters an event of these devices; a number ends one of those that run."""

    async def play() -> None:
        model = Model()
        for step in steps:
            running = [number for number in model.begun if number not in model.ended]
            if isinstance(step, frozenset):
                model.enter(step)
            elif running:
                model.gates[running[step % len(running)]].set()
            await model.settle_down()
            assert set(model.begun) == model.may_run()
        for gate in model.gates:
            gate.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*model.tasks)
        for key in "abcd":
            mine = [number for number in model.begun if key in model.keys[number]]
            assert mine == sorted(mine)
        await asyncio.sleep(0)
        assert not model.lanes._last  # nothing is kept of what has ended

    asyncio.run(play())


async def test_a_failed_event_lets_those_behind_it_go() -> None:
    lanes = Lanes()

    async def fail() -> None:
        raise RuntimeError

    first = asyncio.create_task(fail())
    lanes.enter(["a"], first)
    async with asyncio.timeout(1):
        await asyncio.wait(lanes.ahead(["a"]))
    assert isinstance(first.exception(), RuntimeError)
    await asyncio.sleep(0)
    assert not lanes.ahead(["a"])
