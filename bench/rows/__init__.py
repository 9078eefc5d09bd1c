"""What is measured, in the order in which it is; one file a row."""

from __future__ import annotations

from typing import Final

from bench.figures import Row
from bench.rows import (
    audience,
    backlog,
    ceilings,
    curl,
    dedup,
    delivered,
    ingest,
    prepare,
    sinks,
    workers,
)

ROWS: Final[tuple[Row, ...]] = (
    ceilings.ROW, ingest.ROW, prepare.ROW, delivered.ROW, curl.ROW, backlog.ROW, audience.ROW,
    workers.ROW, dedup.ROW, sinks.ROW,
)  # fmt: skip
