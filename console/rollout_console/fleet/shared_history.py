"""The one history of a rollout file in etcd; its database here is a cache, filled from there."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from rollout_console.changes.errors import StoreError
from rollout_console.etcd.answers import Value
from rollout_console.etcd.errors import EtcdError
from rollout_console.fleet.kept_change import (
    BEGIN,
    ROWS_BITS,
    KeptWrite,
    beginning,
    columns,
    dated_within,
    decoded,
    encoded,
    write_of,
)
from rollout_console.fleet.view import View
from rollout_console.history.actor import Actor
from rollout_console.history.errors import Corrupt, HistoryError
from rollout_console.history.history import History, newest_change, transaction
from rollout_console.history.retention import prune
from rollout_console.history.rows import Describe, Edited, NewChange, insert_values

SHOWN = 12
CLOCK_SLACK_S = 10.0
"""By how much the time of a row may differ from when it arrived, in seconds: a transaction whose
answer was lost is settled for some of them, and clocks differ a little."""


class Source(Protocol):
    """What the history needs of the file in etcd."""

    @property
    def path(self) -> Path:
        """The path of the working copy."""

    @property
    def view(self) -> View:
        """What etcd had at the last reading."""

    def sync(self) -> View:
        """Read etcd, and adopt what is new."""

    def commit(self, changes: Sequence[NewChange]) -> None:
        """Make a change with its rows."""

    def note(self, key: str, expected: dict[str, int], data: bytes) -> bool:
        """Set a key of the history, if the expected keys are so (an empty name is the file's)."""


class SharedHistory(History):
    """Changes are recorded by the transaction that makes them: there is no intent to settle.

    A row's id is the same on every host: the cluster's revision of its write, and its place in it.
    """

    def __init__(self, path: Path, source: Source) -> None:
        super().__init__(path)
        self._source = source
        self.lags = False
        """Whether etcd has changes that could not be put into the cache."""

    @property
    def is_shared(self) -> bool:
        """It is of one file, and shared by all hosts."""
        return True

    @property
    def is_there(self) -> bool:
        """It is where the file is."""
        return True

    def begin(self, *changes: NewChange) -> int:
        """Make the change, rows and all: raises Conflict or EtcdError, and it is not made then."""
        self._source.commit(changes)
        return 0

    def commit(self, row: int) -> None:
        """Do nothing: the rows are there already."""

    def abandon(self, row: int) -> None:
        """Do nothing: where the change was not made there are no rows."""

    def take_over(self, file: Path) -> None:
        """Do nothing: the rows of other histories are of other files."""

    def reconcile(self, file: Path) -> None:
        """Do nothing: no row is without its change."""

    def record(self, change: NewChange) -> None:
        """Record an action of NOTES; raises HistoryError."""
        from uuid import uuid4

        try:
            self._source.note(uuid4().hex, {}, encoded(write_of([change])))
            self._source.sync()
        except (EtcdError, StoreError) as error:
            raise HistoryError(f"it is not in the history: {error}") from None

    def see(
        self, file: Path, who: Actor, at: datetime, now: tuple[str, bytes], describe: Describe
    ) -> Edited | None:
        """Record the version of now as an external edit where no row made it; return that edit.

        Of several hosts that see it one adds the row: its key is the edit's revision in etcd.
        """
        revision, text = now
        view = self._source.view
        if view.text_revision != revision:
            return None  # replaced since
        if self.lags:
            raise HistoryError("what is in etcd cannot be kept here: who made it is not known")
        newest = self._newest()
        try:
            if newest is None:
                self._source.note(
                    BEGIN, {"": view.mod_revision}, encoded(beginning(revision, text, at))
                )
                self._source.sync()
                return None
            known_at, known = newest
            if known == revision or known_at >= view.mod_revision:
                return None
            was = b""
            with suppress(HistoryError):
                was = self.text_of(file, known)
            edited = describe(was, text) if was else Edited("")
            change = NewChange(
                file, at, edited.who or Actor("", who.host), "external", edited.route, edited.org,
                known[:SHOWN], edited.words or revision[:SHOWN], "", "", known, revision, was,
                text, moves=edited.moves,
            )  # fmt: skip
            added = self._source.note(
                f"external-{view.mod_revision}", {"": view.mod_revision},
                encoded(write_of([change])),
            )  # fmt: skip
            self._source.sync()
        except (EtcdError, StoreError) as error:
            raise HistoryError(f"the edit is not in the history: {error}") from None
        return edited if added else None

    def adopt(self, values: Sequence[Value], after: float | None = None) -> None:
        """Add writes of etcd to the cache, in their order; what is no write is left out.

        ``after`` is a time (epoch seconds) at which none of them was in etcd, None where none is
        known: they are dated from then to now by this host's clock, whatever their own says.
        """
        writes = [(value.mod_revision, write) for value in values if (write := decoded(value.data))]
        if after is not None:
            now = time.time()
            span = min(after, now) - CLOCK_SLACK_S, now + CLOCK_SLACK_S
            writes = [(at, dated_within(write, span, now)) for at, write in writes]
        if not writes:
            return
        file = self._identity(self._source.path)
        with self._writing() as db, transaction(db):
            for mod_revision, write in writes:
                with suppress(ValueError):  # a damaged text: the rows say what was done
                    db.execute(
                        "INSERT OR IGNORE INTO texts VALUES (?, ?, ?)",
                        (file, write.revision, write.compressed),
                    )
                if not write.rows:
                    db.execute(
                        "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)",
                        (file, write.revision, write.since),
                    )
                _insert(db, file, mod_revision, write)
            prune(db, file)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with super()._writing() as db:
            # A cache in WAL mode: what a power loss takes is read again, and nothing is corrupt.
            db.execute("PRAGMA synchronous = NORMAL")
            yield db

    def discard(self) -> None:
        """Delete the cache, which is corrupt: it is filled anew from etcd."""
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()

    def clear(self) -> None:
        """Empty the cache: the cluster was restored to an earlier revision."""
        with self._writing() as db, transaction(db):
            for table in ("changes", "texts", "seen"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    def newest_write(self) -> tuple[int, str]:
        """Return the cluster's revision of the newest write in the cache, and the revision of the
        text after it; 0 and nothing without one. Raises Corrupt."""
        newest = "SELECT id, revision FROM changes ORDER BY id DESC LIMIT 1"
        try:
            with self._reading() as db:
                row = None if db is None else db.execute(newest).fetchone()
        except Corrupt:
            raise
        except HistoryError:
            return 0, ""
        return (0, "") if row is None else (int(row["id"]) >> ROWS_BITS, str(row["revision"]))

    def _newest(self) -> tuple[int, str] | None:
        """Return the newest change of the file: its revision in etcd, and that of its text."""
        with self._reading() as db:
            found = None if db is None else newest_change(db, self._identity(self._source.path))
        return None if found is None else (found[0] >> ROWS_BITS, found[1])


def _insert(db: sqlite3.Connection, file: str, mod_revision: int, write: KeptWrite) -> None:
    first = mod_revision << ROWS_BITS
    for place, row in enumerate(write.rows):
        insert_values(
            db,
            {
                **columns(row), "id": first + place, "file": file, "state": "applied", "pid": 0,
                "group_id": first if len(write.rows) > 1 else None,
            },
            unless_there=True,
        )  # fmt: skip
