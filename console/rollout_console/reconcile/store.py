"""The store of pulled usage records: SQLite in the state folder, shared by a host's operators.

It is a cache of the API's list, and complete window by window: a window is a range of time of one
key, whose records were all read, and it is committed in one transaction with them. A process that
is killed in the middle of a page leaves what it had committed before, and nothing else.
"""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path
from typing import Self

import msgspec

from rollout_console.common.databases import make_private, quarantine
from rollout_console.reconcile.errors import BadRecord, CorruptStore, UsageStoreError
from rollout_console.reconcile.money import EXACT, ZERO, canonical, plain, stored
from rollout_console.reconcile.schema import FIRST_S, LAST_S, SCHEMA, VERSION
from rollout_console.tokenlab.types import ApiKey, UsageRecord
from rollout_gate.sqlite_file import use_wal

_BUSY_S = 20.0
_BROKEN = ("not a database", "malformed", "no such table", "no such column", "file is encrypted")
_NOWHERE = (-1, -1)
_MOST_TRIES = 3
_FAULTS = (sqlite3.Error, OSError, ValueError, InvalidOperation, OverflowError, TypeError)


class KnownKey(msgspec.Struct, frozen=True):
    """An API key whose usage is pulled; ``listed`` is False where the API lists it no longer."""

    id: str
    name: str
    status: str
    created_at: int
    listed: bool


class Window(msgspec.Struct, frozen=True):
    """A range of time of a key, in epoch seconds, both ends inclusive, that was read completely.

    ``total`` and ``cost`` are the API's own count and sum; ``note`` is what is odd about it.
    """

    id: int
    begins: int
    ends: int
    read_at: float
    total: int
    cost: Decimal | None
    note: str


class Listing(msgspec.Struct, frozen=True):
    """All records of a window, as a reading of its pages that was proven stable has them."""

    begins: int
    ends: int
    read_at: float
    records: Sequence[UsageRecord]
    total: int
    cost: Decimal | None
    note: str = ""


def store_path(folder: Path, profile: str, base_url: str) -> Path:
    """Return the path of the store of a profile at a base URL."""
    digest = hashlib.sha256(f"{profile}\n{base_url}".encode()).hexdigest()[:16]
    return folder / f"usage-{digest}.sqlite3"


def micros(at: datetime) -> int:
    """Return a time in epoch microseconds, exactly."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def identities(key_id: str, records: Iterable[UsageRecord]) -> Iterator[tuple[bytes, UsageRecord]]:
    """Yield each record of one listing with its identity (a digest), by which it counts once.

    It is that of an entry of a transaction: the billing transaction id, else key and request id,
    with the time and the cost, as a refund is an entry of its own. Without any id it is the whole
    record and its number among equals: two that are alike in a stable list are two.
    """
    equals: Counter[tuple[object, ...]] = Counter()
    for record in records:
        at, cost = micros(record.at), canonical(record.cost)
        given: tuple[object, ...]
        if record.billing_id is not None:
            given = ("billing", record.billing_id, at, cost)
        elif record.request_id is not None:
            given = ("request", key_id, record.request_id, at, cost)
        else:
            whole = (
                "record", key_id, at, cost, record.model, record.scene, record.unit,
                record.quantity, record.tokens_in, record.tokens_out,
            )  # fmt: skip
            given = (*whole, equals[whole])
            equals[whole] += 1
        yield hashlib.blake2b(msgspec.json.encode(given), digest_size=16).digest(), record


class UsageStore:
    """The usage records of one profile at one base URL.

    ``replaced`` counts how often the file was deleted, or another put in its place, while it was
    open: what was committed to the one before is not in the one after.

    Every method raises UsageStoreError, CorruptStore where ``set_aside`` is what helps; reading
    creates nothing on disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replaced = 0
        self._db: sqlite3.Connection | None = None
        self._identity = _NOWHERE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; a later call opens it again."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    @property
    def exists(self) -> bool:
        """Whether anything was pulled yet."""
        with suppress(OSError):
            return self.path.exists()
        return False

    def set_aside(self) -> Path:
        """Rename a corrupt database, so that a new one takes its place; return its new path."""
        self.close()
        with self._translated():
            return quarantine(self.path, self._identity[1] if self._identity != _NOWHERE else None)

    def keep_keys(self, keys: Iterable[ApiKey]) -> None:
        """Keep the list of keys; those that were known and are not in it are no longer listed."""
        rows = [(key.id, key.name, key.status, int(key.created_at.timestamp())) for key in keys]
        with self._writing() as db:
            db.execute("UPDATE keys SET listed = 0")
            db.executemany(
                "INSERT INTO keys VALUES (?, ?, ?, ?, 1) ON CONFLICT (id) DO UPDATE SET"
                " name = excluded.name, status = excluded.status, listed = 1,"
                " created_at = min(created_at, excluded.created_at)",
                rows,
            )

    def known_keys(self) -> list[KnownKey]:
        """Return the known keys: those listed first, by name."""
        with self._reading() as db:
            found = db.execute("SELECT * FROM keys ORDER BY listed DESC, name, id")
            return [
                KnownKey(str(key), str(name), str(status), int(created_at), bool(listed))
                for key, name, status, created_at, listed in found
            ]

    def windows(self, key_id: str) -> list[Window]:
        """Return the windows of a key, oldest first; they overlap nowhere but at their ends."""
        with self._reading() as db:
            return [
                _window(row)
                for row in db.execute(
                    "SELECT id, begins, ends, read_at, total, cost, note FROM windows"
                    " WHERE key_id = ? ORDER BY begins",
                    (key_id,),
                )
            ]

    def commit(self, key_id: str, listing: Listing) -> int:
        """Replace a window's records by those of a listing, in one transaction; return its id.

        Other windows that overlap it go with their records, and so what they had beyond it is
        unread again. Whatever of a boundary is listed in two windows is one record.
        """
        rows = [
            (
                identity, listing.read_at, micros(one.at), key_id, _id(one.request_id),
                _id(one.billing_id), one.model, one.scene, one.unit, one.quantity, one.tokens_in,
                one.tokens_out, plain(one.cost), int(one.cost < 0),
            )
            for identity, one in identities(key_id, listing.records)
        ]  # fmt: skip
        with self._writing() as db:
            over = db.execute(
                "SELECT id FROM windows WHERE key_id = ? AND begins < ? AND ends > ?",
                (key_id, listing.ends, listing.begins),
            ).fetchall()
            db.executemany("DELETE FROM records WHERE window_id = ?", over)
            db.executemany("DELETE FROM windows WHERE id = ?", over)
            cost = None if listing.cost is None else plain(listing.cost)
            window = db.execute(
                "INSERT INTO windows (key_id, begins, ends, read_at, total, cost, note)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key_id, listing.begins, listing.ends, listing.read_at, listing.total, cost,
                 listing.note),
            ).lastrowid  # fmt: skip
            db.executemany(
                "INSERT INTO records (window_id, identity, seen_at, at, key_id, request_id,"
                " billing_id, model, scene, unit, quantity, tokens_in, tokens_out, cost, is_refund)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (identity) DO UPDATE SET window_id = excluded.window_id",
                ((window, *row) for row in rows),
            )
        assert window is not None
        return window

    def confirm(self, window: Window, read_at: float) -> None:
        """Note that a window was found unchanged at a time."""
        with self._writing() as db:
            db.execute("UPDATE windows SET read_at = ? WHERE id = ?", (read_at, window.id))

    def moved(self, since: float) -> list[tuple[str, Window]]:
        """Return the windows that may still have a record which has moved to another one.

        A transaction with two charges, the later of them first seen after ``since``, was either
        charged twice or settled late, with another time: only a newer reading of the window of the
        earlier one can tell.
        """
        with self._reading() as db:
            found = db.execute(
                "SELECT DISTINCT w.id, w.begins, w.ends, w.read_at, w.total, w.cost, w.note,"
                " w.key_id FROM records b"
                " JOIN records a ON a.billing_id = b.billing_id AND a.id <> b.id"
                " JOIN windows w ON w.id = a.window_id"
                " WHERE b.seen_at >= ? AND b.billing_id IS NOT NULL AND b.is_refund = 0"
                " AND a.is_refund = 0 AND w.read_at < b.seen_at",
                (since,),
            ).fetchall()
            return [(row[7], _window(row)) for row in found]

    def notes(self, since: int, until: int) -> list[str]:
        """Return what is odd about the windows of a time, in epoch seconds."""
        with self._reading() as db:
            found = db.execute(
                "SELECT note FROM windows WHERE note <> '' AND begins < ? AND ends > ?"
                " ORDER BY begins",
                (until, since),
            )
            return [str(note) for (note,) in found]

    def costs(self, since: int, until: int) -> dict[str, Decimal]:
        """Return the exact cost by key of the records between two epoch microseconds."""
        found: dict[str, Decimal] = {}
        with self._reading() as db:
            rows = db.execute(
                "SELECT key_id, cost, count(*) FROM records WHERE at >= ? AND at < ?"
                " GROUP BY key_id, cost",
                (since, until),
            )
            for key_id, cost, count in rows:
                amount = EXACT.multiply(stored(cost), Decimal(count))
                found[key_id] = EXACT.add(found.get(key_id, ZERO), amount)
        return found

    def first_at(self) -> int | None:
        """Return the time of the first record that was pulled, in epoch microseconds."""
        with self._reading() as db:
            found = db.execute("SELECT min(at) FROM records").fetchone()[0]
            return None if found is None else int(found)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection with an empty temporary database ``log`` beside the records.

        What is read is one consistent version, whoever pulls meanwhile. SQLite keeps the temporary
        database in a file that it has deleted already, so that nothing of it is ever left.
        """
        with self._translated():
            opened = self._connect(create=False) or _empty()
        with self._translated((sqlite3.Error, BadRecord)), closing(opened) as db:
            db.execute("ATTACH DATABASE '' AS log")
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32768"):
                db.execute(f"PRAGMA log.{pragma}")
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM keys").fetchone()  # takes the snapshot now
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            db = self._opened(create=True)
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has ended the transaction already
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            yield self._opened(create=False)

    def _opened(self, *, create: bool) -> sqlite3.Connection:
        """Return the connection: a new one where the file was deleted or replaced meanwhile.

        The inode is looked at before and after it is opened (TOCTOU), as it may be replaced then;
        where it differs at the last try as well, the next call opens it again.
        """
        if self._db is not None and self._identity == _NOWHERE:
            self.close()  # it was the empty one in memory
        if self._db is not None and self._identity != _inode(self.path):
            self.replaced += 1
            self.close()
        tries = 0
        while self._db is None:
            tries += 1
            identity = _inode(self.path)
            db = self._connect(create=create)
            self._db, self._identity = db or _empty(), identity if db else _NOWHERE
            if db and tries < _MOST_TRIES and identity != _inode(self.path):
                self.close()
        return self._db

    def _connect(self, *, create: bool) -> sqlite3.Connection | None:
        """Return a new connection; None where nothing was pulled yet, and nothing is created."""
        if create:
            make_private(self.path)
        elif not self.path.exists():
            return None
        db = _open(self.path, "mode=rw")
        try:
            if not create:
                db = _readable(db, self.path)
            if _version(db) == 0:
                if not create:
                    db.close()
                    return None
                # With a write-ahead log readers and a writer do not wait for one another.
                use_wal(db, _BUSY_S)
                _make(db)
            if _version(db) != VERSION:
                raise UsageStoreError(f"{self.path} was made by another version: delete it")
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _translated(self, faults: tuple[type[Exception], ...] = _FAULTS) -> Iterator[None]:
        try:
            yield
        except faults as error:
            raise _as_ours(self.path, error) from None


def _open(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)


def _readable(db: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Return a connection that reads ``path``, where its folder may not be written as well.

    A write-ahead log needs the shared memory beside it, which a reader makes; where it may not, and
    no process has left a log, the file is all there is, and is read as it is (immutable).
    """
    try:
        _version(db)
    except sqlite3.OperationalError as error:
        wal = path.with_name(f"{path.name}-wal")
        cannot = any(one in str(error) for one in ("unable to open", "readonly"))
        if not cannot or os.access(path.parent, os.W_OK):
            raise
        if wal.exists() and wal.stat().st_size:
            raise
        db.close()
        return _open(path, "mode=ro&immutable=1")
    return db


def _window(row: Sequence[object]) -> Window:
    number, begins, ends, read_at, total, cost, note = row[:7]
    found = Window(
        int(str(number)), int(str(begins)), int(str(ends)), float(str(read_at)), int(str(total)),
        None if cost is None else stored(cost), str(note),
    )  # fmt: skip
    if not (FIRST_S <= found.begins <= found.ends <= LAST_S and isfinite(found.read_at)):
        raise BadRecord("a window has an impossible time")
    return found


def _make(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        if _version(db) == 0:  # under the lock: another process may have made it
            for statement in _statements(SCHEMA):
                db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _empty() -> sqlite3.Connection:
    """Return a database in memory without any record: what is read before the first pull."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    _make(db)
    return db


def _statements(script: str) -> list[str]:
    lines = (line.partition("--")[0] for line in script.splitlines())
    return [one for one in "\n".join(lines).split(";") if one.strip()]


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _id(text: str | None) -> str | None:
    """Return an id as SQLite takes it: a lone surrogate is escaped."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _inode(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return _NOWHERE
    return status.st_dev, status.st_ino


def _as_ours(path: Path, error: BaseException) -> UsageStoreError:
    """Return an error of the database as one sentence with its remedy."""
    text = str(error)
    if not isinstance(error, sqlite3.Error | OSError) or any(one in text for one in _BROKEN):
        return CorruptStore(f"the usage records at {path} are corrupt: delete that file")
    if isinstance(error, OSError):
        return UsageStoreError(f"the usage records at {path} cannot be kept: {error.strerror}")
    known = {
        "full": "the disk is full",
        "locked": "another program holds its lock",
        "readonly": "it is not writable",
        "unable to open": "it cannot be opened",
    }
    why = next((words for part, words in known.items() if part in text), text)
    return UsageStoreError(
        f"the usage records at {path} cannot be used: {why}; what was pulled before is kept"
    )
