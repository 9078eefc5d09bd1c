"""Whether a spool's events are meant for Kochava or for the sandbox.

The sandbox would swallow real events and call them delivered, and Kochava would count trial
events: a file with events of the one kind pending is not opened for the other.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from proxy.errors import StorageError

SCHEMA: Final = "CREATE TABLE IF NOT EXISTS purpose (sandbox INTEGER NOT NULL);"


def claim(cursor: apsw.Cursor, *, sandbox: bool) -> None:
    """Takes the file for this purpose.

    Raises:
        StorageError: events of the other purpose are pending in it.

    """
    row: Any = cursor.execute("SELECT max(sandbox), (SELECT count(*) FROM events) FROM purpose")
    before, pending = next(row)
    if before is not None and bool(before) != sandbox and pending:
        theirs, ours = ("trial", "to Kochava") if before else ("real", "into the sandbox")
        raise StorageError(
            f"{pending} {theirs} events are pending in this file and must not be sent {ours}:"
            " name another spool.path"
        )
    if before == sandbox:
        return  # a disk may be too full for writing the same again
    cursor.execute("DELETE FROM purpose")
    cursor.execute("INSERT INTO purpose VALUES (?)", (sandbox,))
