"""The SQLite schema of the history, its migrations, and the opening of the database."""

import os
import re
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

from rollout_console.common.databases import make_private
from rollout_console.history.errors import Corrupt, HistoryError, Locked
from rollout_gate.sqlite_file import use_wal

BUSY_S = 1.0
"""Seconds that a lock of the database is waited for."""


_CHANGES = """
CREATE TABLE IF NOT EXISTS changes (
    id INTEGER PRIMARY KEY,
    file TEXT NOT NULL,
    state TEXT NOT NULL,            -- pending, applied, abandoned
    pid INTEGER NOT NULL,
    at TEXT NOT NULL,               -- RFC 3339, UTC
    user TEXT NOT NULL,
    host TEXT NOT NULL,
    ssh_origin TEXT NOT NULL,
    action TEXT NOT NULL,           -- set, rollback, resume, undo, restore, model, phase,
                                    -- external, undelivered, put_back, acknowledge
    route TEXT,
    org TEXT,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    reason TEXT NOT NULL,
    verdict TEXT NOT NULL,
    previous_revision TEXT NOT NULL,
    revision TEXT NOT NULL,
    undoes_id INTEGER
);
CREATE INDEX IF NOT EXISTS changes_by_file ON changes (file, id);
CREATE TABLE IF NOT EXISTS texts (
    file TEXT NOT NULL,
    revision TEXT NOT NULL,
    packed BLOB NOT NULL,           -- the file's bytes, zlib
    PRIMARY KEY (file, revision)
) WITHOUT ROWID;
"""
_SINCE_2 = """
ALTER TABLE changes ADD COLUMN process TEXT NOT NULL DEFAULT '';  -- common.process_id
ALTER TABLE changes ADD COLUMN moves TEXT NOT NULL DEFAULT '';    -- JSON: the shares that differ
CREATE TABLE IF NOT EXISTS seen (   -- the version that somebody saw last, with its text in texts
    file TEXT PRIMARY KEY,
    revision TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS taken_over (  -- histories of state folders whose rows are in here
    source TEXT PRIMARY KEY
) WITHOUT ROWID;
PRAGMA user_version = 2;
"""
_SINCE_3 = """
ALTER TABLE seen ADD COLUMN since TEXT NOT NULL DEFAULT '';
    -- RFC 3339, UTC: from when on every change of the file is in here
PRAGMA user_version = 3;
"""
_SINCE_4 = """
ALTER TABLE changes ADD COLUMN group_id INTEGER;
    -- of one write with several rows: the id of its first row, also in that row; else NULL
PRAGMA user_version = 4;
"""
_UPGRADES = (_CHANGES, _SINCE_2, _SINCE_3, _SINCE_4)
_VERSION = len(_UPGRADES)


FAULTS = (sqlite3.Error, OSError, ValueError, LookupError, OverflowError)
"""Exceptions of a query on a corrupt or foreign database; none of them may stop a rollback."""


def open_to_write(
    path: Path, like: Path | None = None, *, busy_s: float = BUSY_S
) -> sqlite3.Connection:
    """Open the database, creating it where it is missing; raises HistoryError.

    A shared one is created ``like`` a file: of its group, and readable and writable for whoever
    can replace that file. A user's own one is created with its folder (0700).
    """
    try:
        if _is_missing(path):
            _make(path, like)
    except OSError as error:
        raise HistoryError(f"the history at {path} cannot be made: {error.strerror}") from None
    connection = _connect(f"{path.absolute().as_uri()}?mode=rw", path, busy_s)
    try:
        # Not WAL where shared: the log and its index belong to the user who opens first, and are
        # closed to others. A journal in TRUNCATE mode persists, with owner, group and mode given.
        if like:
            connection.execute("PRAGMA journal_mode = TRUNCATE")
        else:
            use_wal(connection, busy_s)
        connection.execute("PRAGMA synchronous = FULL")
        _upgrade(connection, path)
    except FAULTS as error:
        connection.close()
        raise fault(path, error) from None
    except HistoryError:
        connection.close()
        raise
    return connection


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection, path) == _VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    version = _version(connection, path)  # under the lock: another process may have won
    script = "".join(_UPGRADES[version:])
    try:
        for statement in re.sub(r"--.*", "", script).split(";"):
            connection.execute(statement)
        connection.execute("COMMIT")
    except sqlite3.Error:
        with suppress(sqlite3.Error):  # a full disk has ended the transaction already
            connection.execute("ROLLBACK")
        raise


def _make(path: Path, like: Path | None) -> None:
    if like is None:
        make_private(path)
        return
    folder = path.parent.stat()
    try:
        file = like.stat()
    except FileNotFoundError:  # a rollback on a deleted file is recorded as well
        file = folder
    mode = 0o600 | (file.st_mode & 0o044)
    if folder.st_mode & 0o020:
        mode |= 0o060
    for name in (f"{path}-journal", f"{path}"):
        with suppress(FileExistsError):
            descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                group = folder.st_gid if folder.st_mode & 0o020 else file.st_gid
                with suppress(OSError):  # the user may not be in that group
                    os.fchown(descriptor, -1, group)
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)


def _is_missing(path: Path) -> bool:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    if not stat.S_ISREG(status.st_mode):
        raise HistoryError(
            f"the history at {path} is no regular file: correct [history] path in the rollout file"
        )
    return False


def open_to_read(path: Path, *, busy_s: float = BUSY_S) -> sqlite3.Connection | None:
    """Open the database without creating anything; None where there is none yet."""
    try:
        if _is_missing(path):
            return None
    except OSError as error:
        raise fault(path, error) from None
    # Read-write if permitted, so that SQLite can roll back the hot journal of a killed writer.
    mode = "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro"
    connection = _connect(f"{path.absolute().as_uri()}?mode={mode}", path, busy_s)
    try:
        version = _version(connection, path)
    except FAULTS as error:
        connection.close()
        raise fault(path, error) from None
    except HistoryError:
        connection.close()
        raise
    if version == 0:
        connection.close()
        return None
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= _VERSION:
        raise HistoryError(f"the history at {path} was made by a newer version of this console")
    return int(version)


_CORRUPT = ("not a database", "malformed")


def fault(path: Path, error: BaseException) -> HistoryError:
    """Return an error of the database as the history's own, in one sentence with the remedy."""
    kind = HistoryError
    if isinstance(error, sqlite3.Error) and "locked" in str(error):
        kind = Locked
    elif isinstance(error, sqlite3.DatabaseError) and any(one in str(error) for one in _CORRUPT):
        kind = Corrupt
    return kind(_sentence(path, error))


def _sentence(path: Path, error: BaseException) -> str:
    text = str(error)
    if isinstance(error, PermissionError):
        return f"the history at {path} cannot be opened: check the mode and owner of its folder"
    if isinstance(error, OSError):
        return f"the history at {path} cannot be used: {error.strerror}"
    if not isinstance(error, sqlite3.Error):
        return f"the history at {path} is corrupt: move it away, and a new one is created"
    if "not a database" in text:
        return (
            f"{path} is no history, or a corrupt one: correct [history] path in the rollout file,"
            " or move a corrupt one away"
        )
    if "malformed" in text:
        return f"the history at {path} is corrupt: move it away, and a new one is created"
    if "locked" in text:
        return f"the history at {path} is locked by another program; try again"
    if "full" in text:
        return f"the history at {path} cannot be written: the disk is full"
    if "readonly" in text or "unable to open" in text:
        return f"the history at {path} cannot be opened: check the mode and owner of its folder"
    return f"the history at {path} cannot be used: {text}"


def _connect(uri: str, path: Path, busy_s: float) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise fault(path, error) from None
    connection.row_factory = sqlite3.Row
    return connection
