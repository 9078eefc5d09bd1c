"""What must hold once everything is settled, whatever happened on the way.

The oracle sees no part of the proxy: it knows what clients were told, what Kochava got and said,
and what the ledger and the dead letters claim. Times are of one monotonic clock, in seconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

Fate = Literal["delivered", "refused", "poisonous", "filtered"]
Device = tuple[str, str]


class Acknowledged(msgspec.Struct, frozen=True):
    """A message that a client was told is kept.

    `fate` is what must become of it: "refused" and "poisonous" ones die, the first by Kochava's
    answer, the second before they are sent. `device` is what it is ordered by: its source and the
    device's id. `content` is what Kochava must get.
    """

    id: str
    fate: Fate
    device: Device
    content: dict[str, Any]
    at: float = 0.0

    @property
    def is_sent(self) -> bool:
        return self.fate in ("delivered", "refused")


class Request(msgspec.Struct):
    """A request that Kochava read. `ended` is when it began to answer, or saw the caller go.

    `final` says that a whole answer was given after which nobody may ask again, `success` that it
    was a good one.
    """

    id: str
    app: str
    content: dict[str, Any]
    began: float
    ended: float | None = None
    answer: str = ""
    final: bool = False
    success: bool = False


class History(msgspec.Struct):
    """All that is known from outside.

    `acknowledged` is in the order of the acknowledgements, `requests` in that of their beginning.
    `interruptions` are the moments at which the process was ended by force; up to `in_flight`
    deliveries may be repeated for each. `ledger` is what `stats --json` says, `dead` the source
    and message id of every dead letter.
    """

    acknowledged: list[Acknowledged]
    requests: list[Request]
    interruptions: list[float]
    in_flight: int
    ledger: dict[str, Any]
    dead: list[tuple[str, str]]


def objections(history: History) -> list[str]:
    """Everything that should not be; an empty list is the proof."""
    return [
        *_fates(history),
        *_contents(history),
        *_order(history),
        *_repeats(history),
        *_ledger(history),
    ]


def _fates(history: History) -> Iterator[str]:
    final = {request.id: request for request in history.requests if request.final}
    succeeded = {request.id for request in history.requests if request.success}
    asked = {request.id for request in history.requests}
    buried = Counter(history.dead)
    for message in history.acknowledged:
        source = message.device[0]
        is_dead = buried.pop((source, message.id), 0)
        if is_dead != (message.fate in ("refused", "poisonous")):
            yield f"{message.id}: must be {message.fate}, and has {is_dead} dead letters"
        if message.fate == "delivered" and message.id not in succeeded:
            sent = "sent, but never with success" if message.id in asked else "never sent"
            yield f"{message.id}: lost: {sent}"
        if message.fate == "refused" and message.id not in final:
            yield f"{message.id}: never refused by Kochava"
        if not message.is_sent and message.id in asked:
            yield f"{message.id}: must be {message.fate}, and was sent"
    for source, id_ in buried:
        yield f"{id_}: a dead letter of {source} that nobody sent"


def _contents(history: History) -> Iterator[str]:
    """Every request says exactly what it must, those that failed too."""
    wanted = {message.id: message.content for message in history.acknowledged}
    for request in history.requests:
        if request.id not in wanted:
            yield f"{request.id}: a request that nobody's message asked for"
        elif request.content != wanted[request.id]:
            yield f"{request.id}: changed: {request.content} instead of {wanted[request.id]}"


def _order(history: History) -> Iterator[str]:
    """A device's requests never go back to an earlier message, nor on to the next before every
    earlier one was answered for good.
    """
    place: dict[str, tuple[Device, int]] = {}
    queues: defaultdict[Device, list[str]] = defaultdict(list)
    for message in history.acknowledged:
        if message.is_sent:
            queue = queues[message.device]
            place[message.id] = message.device, len(queue)
            queue.append(message.id)
    answered: dict[str, float] = {}
    for request in history.requests:
        if request.final and request.ended is not None:
            answered.setdefault(request.id, request.ended)
    furthest: defaultdict[Device, int] = defaultdict(int)
    for request in sorted(history.requests, key=lambda request: request.began):
        if request.id not in place:
            continue
        device, position = place[request.id]
        if position < furthest[device]:
            yield f"{request.id}: sent after {queues[device][furthest[device]]} of {device}"
        for earlier in queues[device][furthest[device] : position]:
            if answered.get(earlier, float("inf")) > request.began:
                yield f"{request.id}: sent before {earlier} of {device} was answered for good"
        furthest[device] = max(furthest[device], position)


def _repeats(history: History) -> Iterator[str]:
    """What was answered for good is asked again only where a process was ended by force between,
    and no more often than it had requests in flight.
    """
    last: dict[str, float] = {}
    excused: Counter[float] = Counter()
    for request in history.requests:
        before = last.get(request.id)
        if before is not None:
            between = [at for at in history.interruptions if before <= at <= request.began]
            if between:
                excused[between[0]] += 1
            else:
                yield f"{request.id}: repeated though nothing had interrupted"
        if request.final and request.ended is not None:
            last[request.id] = request.ended
        elif before is not None:
            del last[request.id]  # repeated once, however often it is then retried
    for at, times in excused.items():
        if times > history.in_flight:
            yield f"{times} repeated after the end at {at:.3f}, {history.in_flight} were in flight"


def _ledger(history: History) -> Iterator[str]:
    if not history.ledger["balanced"]:
        yield "the ledger says itself that it does not balance"
    sources = {message.device[0] for message in history.acknowledged}
    for source in sorted(sources | set(history.ledger["sources"])):
        counts = history.ledger["sources"].get(source)
        if counts is None:
            yield f"{source}: not in the ledger"
            continue
        own = [message for message in history.acknowledged if message.device[0] == source]
        fates = Counter(message.fate for message in own)
        filtered = sum(counts["filtered"].values())
        rejected = sum(counts["rejected"].values())
        ended = counts["delivered"] + counts["dead"] + filtered
        if counts["received"] != rejected + counts["duplicate"] + counts["pending"] + ended:
            yield f"{source}: does not balance: {counts}"
        for name, claimed, true in (
            ("received", counts["received"] - counts["duplicate"], len(own)),
            ("rejected", rejected, 0),
            ("pending", counts["pending"], 0),
            ("delivered", counts["delivered"], fates["delivered"]),
            ("dead", counts["dead"], fates["refused"] + fates["poisonous"]),
            ("filtered", filtered, fates["filtered"]),
        ):
            if claimed != true:
                yield f"{source}: the ledger claims {claimed} {name}, it must be {true}"
