"""Files of SQLite that several processes open: their mode, the write-ahead log (WAL), locks."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

_AGAIN_S = 0.002


def make_file(path: Path, mode: int) -> None:
    """Make an empty file of a mode, less the umask, where there is none: SQLite's would be 0644.

    SQLite gives its write-ahead log and the index of that (``-wal``, ``-shm``) the same mode. A
    file that is there is not opened (O_EXCL): to close it would release the record locks (POSIX)
    of all connections that this process has to it. Raises OSError.
    """
    if os.path.exists(path):  # noqa: PTH110 - Path's raises where a folder may not be entered
        return
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    with suppress(FileExistsError):  # another process has made it meanwhile
        os.close(os.open(os.path.realpath(path), flags, mode))


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
