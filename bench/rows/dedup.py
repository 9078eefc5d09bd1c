"""(h) With a dedup window that holds many ids already; the same file in every round.

The ids are written past the proxy, into its tables: a day's worth through the door takes a day.
Where the tables are not as they are known here, the row is skipped.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import apsw

from bench.figures import Figure, Goal, Row, Skipped, memory
from bench.rows.delivered import DELIVERED
from bench.rows.ingest import BATCHES, paused, rate
from bench.sizes import WHOLE_DEDUP
from bench.stage import Stage

FULL_INGEST: Final = "ingest, batches, dedup window full"
FULL_DELIVERED: Final = "delivered, dedup window full"

#: Sorted, as an index is filled fastest.
FILL: Final = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :ids)
INSERT INTO dedup_0 SELECT randomblob(16) AS digest, :now FROM numbers ORDER BY digest
"""

#: As many as are kept before the index, so that moves into it begin with the first transaction.
RECENT: Final = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 655)
INSERT INTO dedup_recent SELECT n * 100, random(), 0, :now, randomblob(1600) FROM numbers
"""


def fill(path: Path, ids: int) -> None:
    """Puts so many ids into the window of a spool that nobody has open."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    given = {"ids": ids, "now": time.time()}
    try:
        connection.execute("PRAGMA cache_size = -200000")
        with connection:
            connection.execute(FILL, given)
            connection.execute(RECENT, given)
            connection.execute("UPDATE dedup_slices SET began_at = :now, ids = :ids", given)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except apsw.Error as error:
        raise Skipped(f"the window could not be filled: {error}") from None
    finally:
        connection.close()


async def _filled(stage: Stage) -> Path:
    folder = await asyncio.to_thread(stage.new_folder)
    async with stage.proxy(folder=folder):
        pass  # it makes its tables
    await asyncio.to_thread(fill, folder / "data" / "spool.db", stage.sizes.dedup_ids)
    stage.notes["dedup"] = f"{stage.sizes.dedup_ids:,} ids instead of {WHOLE_DEDUP:,}"
    return folder


async def measure(stage: Stage) -> Mapping[str, float]:
    if "dedup" not in stage.kept:
        with stage.once():
            stage.kept["dedup"] = await _filled(stage)
    folder = await asyncio.to_thread(stage.new_folder)
    data = stage.kept["dedup"] / "data"
    await asyncio.to_thread(shutil.copytree, data, folder / "data", dirs_exist_ok=True)
    try:
        await stage.behave()
        async with stage.proxy(folder=folder) as proxy:
            done = await stage.deliver(proxy, await stage.warm(proxy))
            await paused(stage, proxy)
            sent = await stage.send(proxy.port, seconds=stage.sizes.seconds)
            return {
                FULL_INGEST: rate(sent),
                FULL_DELIVERED: done.per_second,
                "dedup: peak memory": proxy.peak_megabytes(),
            }
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


ROW: Final = Row(
    "dedup",
    "the dedup window full of ids",
    (
        Figure(FULL_INGEST, "events/s", BATCHES, Goal(0.8, 0.95)),
        Figure(FULL_DELIVERED, "events/s", DELIVERED, Goal(0.8, 0.95)),
        memory("dedup"),
    ),
    measure,
    needs=("ingest", "delivered"),
)
