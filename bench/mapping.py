"""Events as the spool hands them out, and what the pipeline makes of them; a helper process."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any, Final

from bench.child import Commands
from bench.messages import bodies
from bench.settings import table
from bench.sink import LINK_PATH, TRACK_PATH
from proxy.clock import SystemClock
from proxy.config import Config
from proxy.configfile import read_config
from proxy.event import Event
from proxy.identities.known import KnownDevices
from proxy.mapping.plugins import load_plugins
from proxy.pipeline import Pipeline
from proxy.receive.intake import new_message_id, read_batch, take_batch
from proxy.receive.slices import at_once
from proxy.states import Deliver, Outgoing

BATCH: Final = 100
ADDRESS: Final = "203.0.113.9"


@cache
def config() -> Config:
    return read_config(table(f"http://127.0.0.1:9{TRACK_PATH}", LINK_PATH), {}, Path("config.toml"))


def pipeline() -> Pipeline:
    """As the product has it; what it learns of devices stays in memory."""
    clock = SystemClock()
    known = KnownDevices(lambda *_: [], None, clock)
    return Pipeline(load_plugins(config(), Path()), config(), known, clock)


def events(kind: str, number: int) -> list[Event]:
    """As they are stored, taken in through the product's own door."""
    found: list[Event] = []
    for body in bodies(kind, 0, number, BATCH):
        batch = at_once(read_batch(body))
        intake = at_once(take_batch(batch, "acme", time.time(), ADDRESS, new_message_id))
        found += intake.events
    return found


def outgoing(number: int) -> list[Outgoing]:
    """Requests ready to be sent, of so many tracks."""
    prepare = pipeline().prepare
    decisions = [prepare(event).decision for event in events("tracks", number)]
    assert all(isinstance(each, Deliver) for each in decisions)
    return [
        planned.outgoing
        for each in decisions
        if isinstance(each, Deliver)
        for planned in each.requests
    ]


async def prepare(kind: str, number: int) -> dict[str, Any]:
    """Seconds for so many events, and how many of them led to a request."""
    stored, prepare = events(kind, number), pipeline().prepare
    for event in stored[:BATCH]:
        prepare(event)
    began = time.perf_counter()
    made = [prepare(event) for event in stored]
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "delivered": sum(isinstance(each.decision, Deliver) for each in made),
    }


def commands() -> Commands:
    return {"prepare": prepare}
