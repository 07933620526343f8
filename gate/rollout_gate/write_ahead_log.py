"""The write-ahead log (WAL) of SQLite: the switch to it, and the locks that are met there."""

import sqlite3
import time

_AGAIN_S = 0.002


def use_wal(connection: sqlite3.Connection, wait_s: float) -> None:
    """Set journal mode WAL, so that a file can be read while it is locked for writing.

    SQLite calls no busy handler where another connection has the reserved lock, as one has that
    makes the same file: the switch is tried again for ``wait_s`` seconds. Where WAL is not
    possible (some network file systems) SQLite keeps the previous mode. Raises sqlite3.Error.
    """
    ends_at = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if not is_lock(error) or time.monotonic() >= ends_at:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def is_lock(error: sqlite3.Error) -> bool:
    """Return whether an error is that of a lock which another process or thread holds."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
