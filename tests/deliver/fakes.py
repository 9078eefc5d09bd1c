"""Stand-ins for what surrounds the forwarder; the spool and the database are real."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from proxy.database import Database
from proxy.decode import decode_event
from proxy.deliver.encode import Encoder
from proxy.deliver.forwarder import Forwarder
from proxy.deliver.prepared import Prepared
from proxy.deliver.transport import Reply, TaskTransport, Transport
from proxy.event import Event
from proxy.kochava import KochavaRequest, Request, SegmentTrack
from proxy.placing import device_hash
from proxy.segment import Message, Postback
from proxy.spool import ledger, schema
from proxy.spool.base import Counts, Part
from proxy.spool.letters import DeadLetter, Which, read_letters
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Decision, Deliver, Outcome, Outgoing, Planned, Settlement
from tests.support import FakeClock, FixedChance, make_config, make_event

GOOD = Reply(200, {}, b'{"success":"1"}')


def bad(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def planned(device: str, name: str = "Tested") -> Planned:
    """An event of one device, encoded as the product does it."""
    data = {"device_ua": "UA", "event_name": name}
    request = KochavaRequest(
        action="event", kochava_app_id="koacme-ios", kochava_device_id=device, data=data
    )
    return Planned(request, Encoder(make_config()).encode(request, "acme"))


class ScriptedTransport(TaskTransport):
    """Answers what the test lays down for an event name, in turn; after that, success. An answer
    may also be an exception, or an asyncio.Event to wait for.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Reply | Exception | asyncio.Event]] = {}
        self.sent: list[str] = []
        self.most_at_once = 0
        self._now = 0

    async def send(self, outgoing: Outgoing) -> Reply:
        data = msgspec.json.decode(outgoing.body)["data"]
        name = str(data["event_name"])
        self.sent.append(name)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            answers = self.answers.get(name, [])
            answer = answers.pop(0) if answers else GOOD
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                return GOOD
            await asyncio.sleep(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self._now -= 1

    async def close(self) -> None:
        """Nothing to close."""


class Watcher:
    """Remembers what observers are told."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, str, int]] = []
        self.settled_as: dict[str, str] = {}

    def attempted(
        self, message: Message | Postback, request: Request, outcome: Outcome, attempt: int
    ) -> None:
        match request:
            case KochavaRequest(data={"event_name": name}) | SegmentTrack(event=name):
                self.attempts.append((name, outcome.kind, attempt))

    def settled(self, message: Message | Postback, settlement: Settlement) -> None:
        self.settled_as[message.message_id] = settlement.state


class Bench:
    """A forwarder on a real spool, with time, chance and Kochava in the test's hands.

    An event's decision is looked up in `decisions` by its message id; by default it is one
    request whose event name is the message id.
    """

    def __init__(
        self,
        database: Database,
        transport: Transport,
        clock: FakeClock,
        part: Part = Part(),  # noqa: B008  frozen
        wake: Callable[[int], None] = lambda _: None,
        **settings: Any,
    ) -> None:
        self.clock = clock
        self.watcher = Watcher()
        self.decisions: dict[str, Decision] = {}
        self.database = database
        self.spool = SqliteSpool(database, clock, 0, part=part, wake=wake)
        self.forwarder = Forwarder(
            self.spool,
            self._prepare,
            transport,
            self.watcher,
            make_config(delivery=settings).delivery,
            self.clock,
            FixedChance(0.0),
        )
        self.running = asyncio.create_task(self.forwarder.run())

    def _prepare(self, event: Event) -> Prepared:
        id_ = event.message_id
        decision = self.decisions.get(id_) or Deliver((planned(f"device-of-{id_}", id_),))
        return Prepared(decode_event(event), decision)

    async def end(self) -> None:
        await self.forwarder.stop(0.1)
        with suppress(asyncio.CancelledError):
            await self.running

    async def add(self, *ids: str, source: str = "acme") -> None:
        events = [msgspec.structs.replace(self._event(id_), source=source) for id_ in ids]
        await self.spool.append(source, events, {})

    def _event(self, id_: str) -> Event:
        """Of the device that its first request is for, as the door would find it."""
        message = {"type": "track", "event": "Tested", "userId": "u-1"}
        device = f"device-of-{id_}"
        match self.decisions.get(id_):
            case Deliver((Planned(KochavaRequest(kochava_device_id=named)), *_)):
                device = named
        place = device_hash("acme", device)
        return msgspec.structs.replace(make_event(message, id_), device=place)

    def counts(self) -> Counts:
        return ledger.read_counts(self.database._reader, self.clock.now())["acme"]

    def letters(self) -> list[DeadLetter]:
        return read_letters(self.database._reader, Which(), 100)

    async def parks(self, id_: str, attempts: int) -> float:
        """Waits until an event has been parked after so many attempts; the seconds to its due."""
        await until(lambda: self.parked().get(id_, (0.0, -1))[1] == attempts)
        return self.parked()[id_][0]

    async def rests(self) -> None:
        """Waits until nothing is under way, and nothing will be before time passes or news come."""
        forwarder = self.forwarder
        for _ in range(20):  # what the last turn of the clock has woken begins
            await asyncio.sleep(0)
        await until(
            lambda: (
                not (
                    forwarder._sending
                    or forwarder._parking
                    or forwarder._settling
                    or forwarder._wake.is_set()
                )
            )
        )

    def parked(self) -> Mapping[str, tuple[float, int]]:
        """Seconds until due, and attempts so far, of what waits."""
        now = self.clock.now()
        rows = self.database.read(
            "SELECT message_id, due, attempts FROM events JOIN parked USING (id)"
            " WHERE app IS NOT NULL"
        )
        return {id_: (due - now, attempts) for id_, due, attempts in rows}


@asynccontextmanager
async def bench(tmp_path: Path, transport: Transport, **settings: Any) -> AsyncIterator[Bench]:
    database = Database(tmp_path / "spool.db", (schema.SCHEMA,))
    made = Bench(database, transport, FakeClock(), **settings)
    try:
        yield made
    finally:
        await made.end()
        await database.close()


@asynccontextmanager
async def benches(
    tmp_path: Path, count: int, transport: Transport, **settings: Any
) -> AsyncIterator[list[Bench]]:
    """As so many workers on one file, each with its own devices."""
    database, clock = Database(tmp_path / "spool.db", (schema.SCHEMA,)), FakeClock()
    made: list[Bench] = []

    def wake(worker: int) -> None:
        made[worker].spool.heard()

    made += (
        Bench(database, transport, clock, Part(worker, count), wake, **settings)
        for worker in range(count)
    )
    try:
        yield made
    finally:
        for each in made:
            await each.end()
        await database.close()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Returns once `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the disk sets no event
            await asyncio.sleep(0.001)


def tally(items: Sequence[str]) -> dict[str, int]:
    return dict(Counter(items))
