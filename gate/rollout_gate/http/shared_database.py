"""A SQLite file that several processes, threads and forked children of a host share."""

import os
import sqlite3
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from rollout_gate.fork_lock import Locked
from rollout_gate.paths import absolute
from rollout_gate.sqlite_file import use_wal

_MOST_TRIES = 3


class SharedDatabase(Locked, ABC):
    """Base class that keeps one connection, opened again after a fork, a deletion or a failure.

    ``_lock`` is to be held around the use of a connection.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._connection: sqlite3.Connection | None = None
        self._path = absolute(path)
        self._identity: tuple[int, int] | None = None
        self._pid = os.getpid()

    def __del__(self) -> None:
        self._drop()  # from 3.13 on, CPython warns of a connection that is collected open

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            self._drop()

    @abstractmethod
    def _connect(self) -> sqlite3.Connection:
        """Return a new connection, with its schema; raises sqlite3.Error."""

    def _open(self) -> sqlite3.Connection:
        """Return the connection, a new one where that is of another process or another file.

        Raises sqlite3.Error where the file cannot be opened.
        """
        is_known = self._identity is not None and self._identity == _identity(self._path)
        if self._pid != os.getpid() or not is_known:
            self._drop()  # deleted or replaced: writes to the old inode would be lost
        return self._opened_anew() if self._connection is None else self._connection

    def _opened_anew(self) -> sqlite3.Connection:
        """Return a new connection, to the file that is at the path.

        The inode is looked at before and after (TOCTOU): a file that is deleted and made again
        meanwhile would be taken for the one that is open, for ever. Where it differs at the last
        try as well, the next call opens it again.
        """
        self._pid = os.getpid()
        tries = 0
        while True:
            tries += 1
            self._identity = _identity(self._path)
            self._connection = connection = self._connect()
            is_known = self._identity is not None and self._identity == _identity(self._path)
            if is_known or tries == _MOST_TRIES:
                return connection
            self._drop()

    def _drop(self) -> None:
        if self._connection is None:
            return
        if self._pid != os.getpid():
            # A SQLite connection must not be used, nor even closed, in a forked child.
            _of_parents.append(self._connection)
        else:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


_of_parents: list[sqlite3.Connection] = []


class writing:
    """A write transaction: ``begin immediate``, commit at the end, rollback on any error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("begin immediate")

    def __exit__(self, kind: object, *error: object) -> None:
        self._database.execute("commit" if kind is None else "rollback")


def opened(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open a file for reading and writing; a lock of it is waited for ``wait_s`` seconds."""
    connection = sqlite3.connect(
        path, timeout=wait_s, check_same_thread=False, isolation_level=None
    )
    try:
        use_wal(connection, wait_s)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def opened_to_read(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open an existing file for reading alone; sqlite3.OperationalError if it is missing or none.

    SQLite would wait for a FIFO's writer for ever.
    """
    if path.exists() and not path.is_file():
        raise sqlite3.OperationalError("not a regular file")
    return _connected(path, "mode=ro", wait_s)


def opened_to_read_once(path: Path, wait_s: float) -> sqlite3.Connection:
    """Open an existing file for one query, also where the reader may not write to its folder.

    A file in WAL mode needs its index (``-shm``), which such a reader cannot make. Where no writer
    has it open there is no log that would be indexed: then the file itself is all there is, and is
    read as immutable. A connection that is kept would miss, or misread, what is written later.
    """
    database = opened_to_read(path, wait_s)
    try:
        database.execute("select 1 from sqlite_master").fetchone()
    except sqlite3.Error as error:
        database.close()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        cannot = code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if not cannot or path.with_name(f"{path.name}-wal").exists() or not path.exists():
            raise
        return _connected(path, "mode=ro&immutable=1", wait_s)
    return database


def _connected(path: Path, query: str, wait_s: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?{query}", uri=True, timeout=wait_s, check_same_thread=False,
        isolation_level=None,
    )  # fmt: skip


def storable(value: str) -> str:
    """Return a text that SQLite accepts: lone surrogates are backslash-escaped."""
    return value.encode("utf-8", "backslashreplace").decode()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
