"""How a Kochava misbehaves: answers as values, and plans that choose among them. And what goes
wrong inside the process.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tests.proof.oracle import Request

INSIDE = Path(__file__).with_name("inside")


class Answer(msgspec.Struct, frozen=True):
    """What is sent back, `delay` seconds later (None: never).

    `cut` is the number of bytes after which the connection is reset. `wire` is sent as it is,
    instead of HTTP. A good answer says by the message's fate what it says. One that
    `is_enough_for_links` is a success where any 2xx is one: for identity links.
    """

    name: str
    status: int = 200
    body: bytes = b""
    headers: tuple[str, ...] = ()
    delay: float | None = 0.0
    cut: int | None = None
    wire: bytes | None = None
    is_good: bool = False
    is_enough_for_links: bool = False

    @property
    def ends(self) -> bool:
        """Whether the connection cannot be used afterwards."""
        return self.cut is not None or self.wire is not None

    def raw(self) -> bytes:
        if self.wire is not None:
            return self.wire
        head = [f"HTTP/1.1 {self.status} Tested", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*head, *self.headers, "", ""]).encode() + self.body


GOOD = Answer("good", is_good=True)
DOWN = Answer("down", 503, b"try again later")
ERROR = Answer("error", 500, b"<html>oops</html>")
FORBIDDEN = Answer("forbidden", 403)
SILENT = Answer("silent", delay=None)
RESET_AFTER_READING = Answer("reset after reading", cut=0)
RESET_WHILE_ANSWERING = Answer("reset while answering", body=b'{"success":"1"}', cut=50)

_HTML = b"<!doctype html><p>Welcome to our hotel's network."
GARBAGE: Sequence[Answer] = (
    Answer("no HTTP", wire=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    Answer("zeros", wire=bytes(100)),
    Answer("closed without an answer", wire=b""),
    Answer("a page", body=_HTML, is_enough_for_links=True),
    Answer("half a JSON", body=b'{"success":', is_enough_for_links=True),
    Answer("nothing at all", is_enough_for_links=True),
    Answer("too short", wire=b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"success":"1"}'),
    Answer(
        "two lengths", wire=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n"
    ),
    Answer("half a chunk", wire=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"),
)


def slow(seconds: float) -> Answer:
    return msgspec.structs.replace(GOOD, name=f"good after {seconds} s", delay=seconds)


def busy(retry_after: str | None = None) -> Answer:
    headers = () if retry_after is None else (f"Retry-After: {retry_after}",)
    return Answer("busy", 429, headers=headers)


def busy_until(seconds: float) -> Answer:
    """With a date, of whole seconds, and as servers do with the one of the answer beside it (RFC
    9110, 6.6.1): without that nobody whose clock was turned could know how long to wait.
    """
    now = datetime.now(UTC)
    answer = busy(format_datetime(now + timedelta(seconds=seconds), usegmt=True))
    date = f"Date: {format_datetime(now, usegmt=True)}"
    return msgspec.structs.replace(answer, headers=(*answer.headers, date))


class Plan(Protocol):
    """Chooses how to misbehave."""

    def resets_unread(self) -> bool:
        """Whether a request is cut off before its body is read."""

    def answer(self, request: Request) -> Answer:
        """The answer to a request."""


class Mixed:
    """Anything of `faults` for so many requests in a hundred, and good answers for the rest."""

    def __init__(
        self, chance: random.Random, percent: float, faults: Sequence[Answer], unread: float = 0.0
    ) -> None:
        """`unread` is how many in a hundred are cut off before they are read."""
        self._chance = chance
        self._percent = percent
        self._faults = faults
        self._unread = unread

    def resets_unread(self) -> bool:
        return self._chance.random() * 100 < self._unread

    def answer(self, _: Request) -> Answer:
        if self._chance.random() * 100 < self._percent:
            return self._chance.choice(self._faults)
        return GOOD


class _Chosen:
    def __init__(self, choose: Callable[[Request], Answer]) -> None:
        self.answer = choose

    def resets_unread(self) -> bool:
        return False


def always(answer: Answer) -> Plan:
    return _Chosen(lambda _: answer)


def by_app(answers: Mapping[str, Answer]) -> Plan:
    """Some apps misbehave always, the others never."""
    return _Chosen(lambda request: answers.get(request.app, GOOD))


def everything(timeout: float) -> Sequence[Answer]:
    """All that can go wrong with a single answer, for a client that waits `timeout` seconds."""
    return (
        *GARBAGE, DOWN, ERROR, SILENT, RESET_AFTER_READING, RESET_WHILE_ANSWERING,
        busy(), busy("1"), busy("0"), busy("soon"), busy_until(1), slow(timeout * 2),
        slow(timeout / 10),
    )  # fmt: skip


def inside(**faults: Any) -> dict[str, str]:
    """The environment for a process with faults in it: see tests/proof/inside/sitecustomize.py."""
    folders = [str(INSIDE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(folders), "FAULTS": json.dumps(faults, default=str)}
