"""Writes attempts to sockets, reads what is answered, and says what should not have been."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator

import msgspec

from tests.hostile import wire
from tests.hostile.messages import good
from tests.hostile.requests import KEY, Attempt

PATIENCE = 20.0  # for an answer that must come
QUIET = 0.25  # after what may be no request at all: then no answer is coming either
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_BODILESS = (204, 304)


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    closes: bool


class Tally:
    """What came of all attempts."""

    def __init__(self) -> None:
        self.attempts = 0
        self.statuses: Counter[str] = Counter()
        self.acknowledged = 0  # messages of the first source
        self.planted: set[str] = set()
        self.faults: list[str] = []

    def take(self, attempt: Attempt, answers: list[Answer]) -> None:
        for answer in answers:
            self.statuses[str(answer.status)] += 1
            if answer.status >= 500 or (attempt.must_pass and answer.status != 200):
                self.fault(attempt, f"{answer.status} {answer.body[:200]!r}")
            if answer.status == 200:
                self.acknowledged += attempt.messages or 0
        if attempt.framed and len(answers) < attempt.answers:
            self.fault(attempt, f"{len(answers)} answers instead of {attempt.answers}")
        if not answers:
            self.statuses["none"] += 1
        self.planted.update(attempt.planted)

    def fault(self, attempt: Attempt, what: str) -> None:
        self.faults.append(f"{attempt.kind}: {what}\n    to {attempt.data[:600]!r}")


class Connection:
    """One client, which connects anew whenever its connection is of no more use."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, attempt: Attempt) -> list[Answer]:
        """The answers that came in time."""
        if not attempt.framed:
            self.close()
        reader, writer = await self._open()
        answers: list[Answer] = []
        try:
            async with asyncio.timeout(PATIENCE if attempt.framed else QUIET):
                await self._write(writer, attempt)
                while len(answers) < attempt.answers and not attempt.leave:
                    answers.append(await read_answer(reader, bodiless=_is_head(attempt.data)))
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            self.close()
        if not attempt.framed or (answers and answers[-1].closes):
            self.close()
        return answers

    def close(self) -> None:
        """At once: no port is kept waiting on this side."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            async with asyncio.timeout(PATIENCE):
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer

    async def _write(self, writer: asyncio.StreamWriter, attempt: Attempt) -> None:
        size = -(-len(attempt.data) // attempt.pieces)
        for at in range(0, len(attempt.data), size):
            writer.write(attempt.data[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)


async def read_answer(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Answer:
    """The next one that is final (not 100)."""
    status = 100
    head = b""
    while status < 200:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
    length = _LENGTH.search(head)
    body = b""
    if length and not bodiless and status not in _BODILESS:
        body = await reader.readexactly(int(length[1]))
    return Answer(status, body, _CLOSE.search(head) is not None)


def _is_head(data: bytes) -> bool:
    return data[:5] == b"HEAD "


async def hammer(port: int, attempts: Iterator[Attempt], clients: int, tally: Tally) -> None:
    """Sends all of them, by so many clients at once."""

    async def client() -> None:
        connection = Connection(port)
        for attempt in attempts:
            try:
                answers = await connection.send(attempt)
            except OSError as error:
                tally.fault(attempt, f"no connection: {error}")
                answers = []
            tally.take(attempt, answers)
            tally.attempts += 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))


class Steady:
    """A good client: one message at a time, so many a second, whatever others do."""

    def __init__(self, port: int, name: str, per_second: float = 50) -> None:
        self.sent: set[str] = set()
        self.seconds: list[float] = []
        self.not_taken: list[Answer] = []
        self._connection = Connection(port)
        self._name = name
        self._pause = 1 / per_second

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop. It does not catch up with what it could not send in time."""
        while not stop.is_set():
            began = time.perf_counter()
            id_ = f"steady-{self._name}-{len(self.sent)}"
            data = wire.request("/v1/track", good(id_), key=KEY)
            (answer,) = await self._connection.send(Attempt("steady", data)) or [
                Answer(0, b"", closes=True)
            ]
            self.seconds.append(time.perf_counter() - began)
            self.sent.add(id_)
            if answer.status != 200:
                self.not_taken.append(answer)
            await asyncio.sleep(max(0.0, self._pause - self.seconds[-1]))
        self._connection.close()

    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]
