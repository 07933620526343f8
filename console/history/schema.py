"""The history's tables, and opening them."""

import os
import sqlite3
from pathlib import Path

from console.history.errors import HistoryError

BUSY_MS = 2_000

_SCHEMA = """
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
                                    -- external, undelivered
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
PRAGMA user_version = 1;
"""


FAULTS = (sqlite3.Error, OSError, ValueError, LookupError, OverflowError)
"""What a damaged database, or another's, makes of a question; none of it may stop a rollback."""


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open the database, making it and its folder (0700) where they are missing."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise HistoryError(f"the history at {path} cannot be made: {error.strerror}") from None
    connection = _connect(f"{path.absolute().as_uri()}?mode=rw", path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if _version(connection, path) == 0:
            connection.executescript(_SCHEMA)
    except FAULTS as error:
        connection.close()
        raise HistoryError(sentence(path, error)) from None
    except HistoryError:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection | None:
    """Open the database without making anything; None where there is none yet."""
    try:
        if not path.exists():
            return None
    except OSError as error:
        raise HistoryError(sentence(path, error)) from None
    connection = _connect(f"{path.absolute().as_uri()}?mode=ro", path)
    try:
        version = _version(connection, path)
    except FAULTS as error:
        connection.close()
        raise HistoryError(sentence(path, error)) from None
    except HistoryError:
        connection.close()
        raise
    if version == 0:
        connection.close()
        return None
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, 1):
        raise HistoryError(f"the history at {path} was made by a newer version of this console")
    return int(version)


def sentence(path: Path, error: BaseException) -> str:
    """Return what is wrong with the database, and what to do."""
    text = str(error)
    if isinstance(error, PermissionError):
        return f"the history at {path} cannot be opened: check the mode and owner of its folder"
    if not isinstance(error, sqlite3.Error | OSError):
        return f"the history at {path} is damaged: move it away, and a new one is begun"
    if "malformed" in text or "not a database" in text:
        return f"the history at {path} is damaged: move it away, and a new one is begun"
    if "locked" in text:
        return f"the history at {path} is locked by another program; try again"
    if "full" in text:
        return f"the history at {path} cannot be written: the disk is full"
    if "readonly" in text or "unable to open" in text:
        return f"the history at {path} cannot be opened: check the mode and owner of its folder"
    return f"the history at {path} cannot be used: {text}"


def _connect(uri: str, path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise HistoryError(sentence(path, error)) from None
    connection.row_factory = sqlite3.Row
    return connection
