"""How much of everything: enough to be told from noise, and within the time that a run has."""

from __future__ import annotations

from typing import Final

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """Numbers of messages, but where it says otherwise. `budget` is in seconds."""

    rounds: int
    budget: float
    handler: int
    client: int
    commits: int  # of one record
    appended: int  # a hundred in each commit
    single: int
    batched: int
    gzipped: int
    prepared: int
    warm: int
    delivered: int
    latency_seconds: float
    backlog: int
    users: int
    members: int
    live_seconds: float  # of live load without an audience beside it
    dedup_ids: int


FULL: Final = Sizes(
    rounds=3, budget=570, handler=40_000, client=25_000, commits=2_000, appended=150_000,
    single=20_000, batched=60_000, gzipped=30_000, prepared=10_000, warm=1_000, delivered=20_000,
    latency_seconds=5, backlog=1_000_000, users=50_000, members=200_000, live_seconds=10,
    dedup_ids=5_000_000,
)  # fmt: skip
QUICK: Final = Sizes(
    rounds=1, budget=55, handler=8_000, client=4_000, commits=300, appended=20_000,
    single=3_000, batched=10_000, gzipped=5_000, prepared=10_000, warm=300, delivered=4_000,
    latency_seconds=1.5, backlog=20_000, users=1_000, members=5_000, live_seconds=2,
    dedup_ids=200_000,
)  # fmt: skip

#: What the issue's goals are told for; a run that does less says so.
WHOLE_AUDIENCE: Final = 1_000_000
WHOLE_BACKLOG: Final = 1_000_000
WHOLE_DEDUP: Final = 50_000_000
