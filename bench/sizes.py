"""How much of everything: enough to be told from noise, and within the time that a run has."""

from __future__ import annotations

from typing import Final

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """Seconds for which something goes on, or numbers of messages where that is what matters.

    Rows that are measured once are made smaller where the machine is too slow for them.
    """

    rounds: int
    budget: float  # seconds, after which no further round begins
    seconds: float
    deliver_seconds: float
    latency_seconds: float
    warm: int
    prepared: int
    backlog: int
    backlog_seconds: float  # for making it
    users: int
    learn_seconds: float
    members: int
    members_seconds: float  # after all of them are sent
    dedup_ids: int


FULL: Final = Sizes(
    rounds=3, budget=560, seconds=2.5, deliver_seconds=4, latency_seconds=5, warm=1_000,
    prepared=10_000, backlog=1_000_000, backlog_seconds=80, users=50_000, learn_seconds=12,
    members=200_000, members_seconds=45, dedup_ids=5_000_000,
)  # fmt: skip
QUICK: Final = Sizes(
    rounds=1, budget=55, seconds=0.6, deliver_seconds=1, latency_seconds=1, warm=300,
    prepared=3_000, backlog=20_000, backlog_seconds=3, users=1_000, learn_seconds=1,
    members=10_000, members_seconds=3, dedup_ids=200_000,
)  # fmt: skip

#: What the issue's goals are told for; a run that does less says so.
WHOLE_AUDIENCE: Final = 1_000_000
WHOLE_BACKLOG: Final = 1_000_000
WHOLE_DEDUP: Final = 50_000_000
