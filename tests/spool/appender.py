"""Run as a process: appends events without end and prints each id once it is acknowledged."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

from proxy.clock import SystemClock
from proxy.database import Database
from proxy.spool import schema
from proxy.spool.dedup import DedupWindow
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.spool.helpers import events, lease_now


async def append(spool: SqliteSpool, prefix: str) -> None:
    number = 0
    while True:
        message_id = f"{prefix}-{number}"
        await spool.append("acme", events(message_id, size=2_000), {"bad_request": 1})
        os.write(1, f"appended {message_id}\n".encode())
        number += 1


async def settle(spool: SqliteSpool) -> None:
    while True:
        for leased in lease_now(spool, 5):
            if leased.id % 3 == 0:  # the others stay in the queue
                await spool.settle(leased, Settlement("delivered"))
                os.write(1, f"settled {leased.event.message_id}\n".encode())
        await asyncio.sleep(0)


async def main(path: Path, name: str) -> None:
    database = Database(path, (schema.SCHEMA,))
    spool = SqliteSpool(database, SystemClock(), 86_400)
    await asyncio.gather(settle(spool), *(append(spool, f"{name}-{n}") for n in range(20)))


if __name__ == "__main__":
    with (
        patch("proxy.committer.CHECKPOINT_PAGES", 50),  # some are killed in the middle of one
        patch("proxy.spool.appending.DedupWindow", partial(DedupWindow, max_recent=50)),
    ):
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
