"""One event on its way: its requests, and what became of those that were answered."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Final

from proxy.deliver.prepared import Prepared
from proxy.kochava import IdentityLink, KochavaRequest, Request
from proxy.spool.base import Leased, Parked, Refusal
from proxy.states import Deliver, Outcome, Planned, Settlement

DIGEST_BYTES: Final = 8
#: How nearly every event ends.
_DELIVERED: Final = Settlement("delivered")


class Delivery:
    """A leased event that is to be delivered. Its requests are sent in order; one that is refused
    does not stop the rest (links of other devices), one that must wait does.
    """

    #: The request to send next, None if all are answered.
    next: Planned | None
    #: The app that the next request is for, "" if there is none.
    app: str

    def __init__(self, leased: Leased, prepared: Prepared) -> None:
        assert isinstance(prepared.decision, Deliver)  # the caller has looked
        self.leased = leased
        self.prepared = prepared
        self.done = set(leased.done)
        self.refusal = leased.refusal
        requests = prepared.decision.requests
        if len(requests) == 1 and not self.done:  # is answered or not: nothing to keep apart
            self._left = [(requests[0], b"")]
        else:
            self._left = [each for each in _digests(requests) if each[1] not in self.done]
        self._look()

    @property
    def bulk(self) -> bool:
        return self.leased.lane.bulk

    def answered(self, outcome: Outcome) -> None:
        """Takes the end of the next request, be it delivered or refused."""
        planned, digest = self._left.pop(0)
        self._look()
        if digest:
            self.done.add(digest)
        if outcome.kind == "refused" and self.refusal is None:
            self.refusal = Refusal(planned.outgoing, outcome)

    def give_up(self) -> None:
        """Nothing of it is sent any more."""
        self._left.clear()
        self._look()

    def settlement(self) -> Settlement:
        """The end of the event, once every request is answered."""
        if self.refusal is None:
            return _DELIVERED
        outcome = self.refusal.outcome
        return Settlement("dead", outcome.reason, "", self.refusal.outgoing, outcome)

    def parked(self, due: float, attempts: int, first_attempt_at: float | None) -> Parked:
        """How it waits for its app and for `due`, what is answered kept in mind."""
        done = frozenset(self.done)
        return Parked(due, self.app, attempts, first_attempt_at, done, self.refusal)

    def _look(self) -> None:
        """At what is to be sent next: it is asked for much more often than it changes."""
        if self._left:
            self.next = self._left[0][0]
            self.app = app_of(self.next.request, self.leased.event.source)
        else:
            self.next, self.app = None, ""


def app_of(request: Request, source: str) -> str:
    """The app id that a request is for; of any kind, since a plugin may have put anything there.
    Each source has a Segment of its own: its key may be refused where another's is not.
    """
    if isinstance(request, (KochavaRequest, IdentityLink)):
        return str(request.kochava_app_id) or "none"
    return segment_app(source)


def segment_app(source: str) -> str:
    """What stands for a source at Segment where Kochava has an app id."""
    return f"segment:{source}"


def _digests(requests: Iterable[Planned]) -> Iterable[tuple[Planned, bytes]]:
    """Each with what tells a request that was answered from one that a changed mapping makes
    anew, and from one before it that is the same.
    """
    times: Counter[bytes] = Counter()
    for planned in requests:
        content = planned.outgoing.url.encode() + b"\0" + planned.outgoing.body
        salt = times[content].to_bytes(4)
        times[content] += 1
        yield planned, hashlib.blake2b(content, digest_size=DIGEST_BYTES, salt=salt).digest()
