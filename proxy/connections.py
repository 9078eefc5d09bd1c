"""Connections to the SQLite file: the proxy's own, and those of programs beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import apsw
import structlog

from proxy.errors import StorageBroken, StorageError, StorageFull
from proxy.reserve import Reserve, is_given_up
from proxy.turns import Turn

#: Older versions corrupt a WAL file when two connections write and checkpoint at once.
OLDEST_SQLITE: Final = (3, 51, 3)
SCHEMA_VERSION: Final = 3
#: After these nobody can say what the disk holds, or whether it will hold anything again.
BROKEN: Final = (
    apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError, apsw.CantOpenError,
)  # fmt: skip
#: What becomes of a write by no fault of ours; all but `BROKEN` can be gone on after.
NOT_WRITTEN: Final = (apsw.FullError, apsw.BusyError, *BROKEN)
_log = structlog.get_logger(room="database")

#: How much of the file is in use, in bytes; room that was freed in it is not.
BYTES_IN_USE: Final = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
BUSY_MILLISECONDS: Final = 5_000  # to wait for programs that take no turns


def is_full(error: apsw.Error) -> bool:
    """Whether there is no room on the disk. Where `-shm` cannot grow SQLite calls that an I/O
    error; nothing has been committed then either (unixShmMap in
    https://sqlite.org/src/file/src/os_unix.c).
    """
    extended = getattr(error, "extendedresult", None)  # not where a VFS in Python raised it
    return isinstance(error, apsw.FullError) or extended == apsw.SQLITE_IOERR_SHMSIZE


def open_for_reading(path: Path) -> apsw.Connection:
    """A second connection that only reads, beside a running proxy or without one."""
    connection = connect(path)
    connection.execute("PRAGMA query_only = ON")
    _compile_once(connection)
    # The last to close, after a crash, would write the WAL into the file, and delete it.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def connect(path: Path) -> apsw.Connection:
    """To a file that is there."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    _refuse_newer(connection)
    return connection


def _compile_once(connection: apsw.Connection) -> None:
    """Else SQLite compiles many a statement anew at each call, to look at what is bound to it, say
    its LIMIT. There are no statistics here by which it could make a better plan.
    """
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def _refuse_newer(connection: apsw.Connection) -> None:
    version = cast("int", connection.pragma("user_version"))
    if version > SCHEMA_VERSION:
        raise StorageError(f"written by a newer version of kochava-proxy (schema {version})")


@contextlib.contextmanager
def writing(path: Path, *, adds: bool = False) -> Iterator[apsw.Connection]:
    """One transaction of a program beside the proxy, in its turn: a connection that has begun,
    committed and synced at the end, rolled back where an exception leaves it. Keep it short.
    `adds` is as that of `proxy.database.Database.write`.

    Raises:
        StorageError: the file cannot be opened, or is held by a program that takes no turns.
        StorageFull: no room; nothing was stored.
        StorageBroken: an I/O error; what the disk holds is not known.

    """
    refuse_old_sqlite()
    try:
        with (
            contextlib.closing(Turn(path)) as turn,
            turn,
            contextlib.closing(connect(path)) as connection,
        ):
            connection.pragma("synchronous", "full")
            connection.pragma("wal_autocheckpoint", 0)
            if adds and is_given_up(path):
                raise StorageFull(f"{path}: the disk is full")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:  # Ctrl-C too; it is raised again
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
    except NOT_WRITTEN as error:
        if is_full(error):
            raise StorageFull(f"{path}: {error}") from None
        if isinstance(error, BROKEN):
            raise StorageBroken(f"{path}: {type(error).__name__}: {error}") from None
        raise StorageError(f"{path}: {error}") from None


#: Makes a file of some version into one of the next, within a transaction.
Migration = Callable[[apsw.Connection], None]


def open_for_writing(
    path: Path, schemas: Sequence[str], migrations: Mapping[int, Migration], reserve: Reserve
) -> apsw.Connection:
    """A connection that writes durably, to a file that has these tables from then on. `migrations`
    are named by the version that they start from. On a full disk the room that even this needs, for
    `-shm` at least, is that of the reserve.
    """
    connection = apsw.Connection(str(path))
    try:
        _prepare(connection, schemas, migrations)
    except apsw.Error as error:
        connection.close()
        if is_full(error) and reserve.give_up():
            return open_for_writing(path, schemas, migrations, reserve)
        raise
    return connection


def _prepare(
    connection: apsw.Connection, schemas: Sequence[str], migrations: Mapping[int, Migration]
) -> None:
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    _refuse_newer(connection)
    _compile_once(connection)
    mode = connection.pragma("journal_mode", "wal")
    if mode != "wal":
        raise StorageError(f"the file system allows no WAL (journal mode {mode})")
    connection.pragma("synchronous", "full")
    connection.pragma("wal_autocheckpoint", 0)  # `Database` does it, and hears how it went
    with connection:
        version = cast("int", connection.pragma("user_version"))
        for older in range(version, SCHEMA_VERSION) if version else ():
            if older in migrations:
                _log.warning("migrating", version=older)
                migrations[older](connection)
        for schema in schemas:
            connection.execute(schema)
        if version != SCHEMA_VERSION:  # a disk may be too full for writing the same again
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def refuse_old_sqlite() -> None:
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StorageError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt its WAL; {oldest} or newer is needed"
        )
    if "ENABLE_CARRAY" not in apsw.compile_options:  # as in PyPI's apsw
        raise StorageError("this apsw was built without carray; use the one of PyPI")
