"""The history of a rollout file in SQLite: who, when, what, why, and the text before and after."""

import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from math import inf
from pathlib import Path

from rollout_console.common.files import real_path
from rollout_console.history.actor import Actor
from rollout_console.history.errors import HistoryError, Locked
from rollout_console.history.recovery import (
    is_dead,
    is_dead_or_own,
    pending,
    recover,
    revision_at,
    settle,
)
from rollout_console.history.retention import PRUNED_EVERY, prune
from rollout_console.history.rows import (
    NOTES,
    Change,
    Describe,
    Edited,
    NewChange,
    change_of,
    insert_row,
    insert_rows,
    insert_values,
)
from rollout_console.history.schema import BUSY_S, FAULTS, fault, open_to_read, open_to_write

_TICK_NS = 20_000_000
_LEAST_PREFIX = 7
_SHOWN = 12
_LOCKED_FOR_S = 5.0
_NO_ID = 2**63 - 1
"""Greater than each id: SQLite's greatest integer."""


class History:
    """The changes of rollout files, in one SQLite database.

    With ``like``, the rollout file, it is that file's alone, and shared by all who may change the
    file; ``older`` are histories whose rows it imports, once. Without, it is of any number of
    files, and of one user.

    Write-ahead: a change is begun before the file is swapped and committed after it, so that a
    crash in between leaves a row that ``reconcile`` settles by the actual revision of the file.
    Connections are short-lived: several consoles and commands share the database. Every method
    raises HistoryError alone; reading creates nothing on disk.
    """

    def __init__(self, path: Path, *, like: Path | None = None, older: Sequence[Path] = ()) -> None:
        self.path = path
        self._like = like
        self._older = older
        self._locked_at = -inf

    @property
    def is_shared(self) -> bool:
        """Whether it is of one file, and shared by all operators of that file."""
        return self._like is not None

    @property
    def is_there(self) -> bool:
        """Whether the database exists; False where that cannot be determined."""
        try:
            return self.path.exists()
        except OSError:
            return False

    def stamp(self) -> tuple[int, ...] | None:
        """Return a fingerprint that differs after every commit; None if the next may be the same.

        It is inode, size and mtime of the database and of its write-ahead log. As in Git's index,
        an mtime that is no older than a clock tick proves nothing ("racy Git").
        """
        found: list[int] = []
        for path in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            with suppress(OSError):
                status = path.stat()
                found += (status.st_ino, status.st_size, status.st_mtime_ns)
                if abs(time.time_ns() - status.st_mtime_ns) < _TICK_NS:
                    return None
        return tuple(found)

    def begin(self, *changes: NewChange) -> int:
        """Record the intent of one write durably (write-ahead), with both texts; return its id.

        Several changes of one write are a group: one transaction inserts, commits or abandons all
        of its rows, by the id of the first. The revisions are those of the first change.

        Crash recovery relies on the order of the ids: call this under the lock of the folder, and
        after the file was compared with the previous revision.
        """
        return self._insert(changes, "pending")

    def commit(self, row: int) -> None:
        """Mark an intent as applied; the history is pruned periodically."""
        with self._writing() as db:
            rows = settle(db, row, "applied")
            found = db.execute("SELECT file FROM changes WHERE id = ?", (row,)).fetchone()
            if found is not None and -row % PRUNED_EVERY < rows:  # one of them is a multiple
                with transaction(db):
                    prune(db, found["file"])

    def abandon(self, row: int) -> None:
        """Mark an intent as abandoned: the file was not changed."""
        with self._writing() as db:
            settle(db, row, "abandoned")

    def see(
        self, file: Path, who: Actor, at: datetime, now: tuple[str, bytes], describe: Describe
    ) -> Edited | None:
        """Record the file's current version, (revision, text); return an external edit, if any.

        It is an external edit if the newest change did not result in this text, even if the same
        text was there earlier. Of several processes that see the edit, one inserts a row; a stale
        read, of a text that was replaced since, inserts none. The first process that ever sees the
        file has nothing to compare it with.
        """
        revision, text = now
        name = self._identity(file)
        with self._reading() as known:
            if (
                known is not None
                and _newest_revision(known, name) == revision
                and not pending(known, name)
            ):
                return None
        with self._writing() as db, transaction(db):
            recover(db, name, file, is_dead)
            # Compare again under the database's write lock: the read may be stale.
            if _newest_revision(db, name) is not None and revision_at(file) != revision:
                return None
            return self._see(db, name, (file, who, at), (revision, text), describe)

    def _see(
        self,
        db: sqlite3.Connection,
        name: str,
        seen_by: tuple[Path, Actor, datetime],
        now: tuple[str, bytes],
        describe: Describe,
    ) -> Edited | None:
        revision, text = now
        before = _newest_revision(db, name)
        under_way = db.execute(
            "SELECT 1 FROM changes WHERE file = ? AND state = 'pending'"
            " AND ? IN (revision, previous_revision)",
            (name, revision),
        ).fetchone()
        edited = None
        if before not in (None, revision) and under_way is None:
            packed = db.execute(
                "SELECT packed FROM texts WHERE file = ? AND revision = ?", (name, before)
            ).fetchone()
            was = zlib.decompress(packed["packed"]) if packed is not None else b""
            edited = describe(was, text) if was else Edited("")
            file, who, at = seen_by
            change = NewChange(
                file, at, edited.who or Actor("", who.host), "external", edited.route, edited.org,
                str(before)[:_SHOWN], edited.words or revision[:_SHOWN], "", "",
                str(before), revision, was, text, moves=edited.moves,
            )  # fmt: skip
            insert_row(db, change, name, "applied")
        if under_way is None:
            db.execute(
                "INSERT INTO seen VALUES (?, ?, ?)"
                " ON CONFLICT (file) DO UPDATE SET revision = excluded.revision",
                (name, revision, "" if before is not None else seen_by[2].isoformat()),
            )
        db.execute(
            "INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", (name, revision, zlib.compress(text, 1))
        )
        return edited

    def record(self, change: NewChange) -> None:
        """Record an action of NOTES: the file is unchanged, so no pending row comes first."""
        self._insert((change,), "applied")

    def take_over(self, file: Path) -> None:
        """Import the file's rows of older histories, once; their ids come before those of ours."""
        for source in self._older:
            old = open_to_read(source)
            if old is None:
                continue
            with closing(old), self._translated():
                key = (_as_text(real_path(file)),)
                rows = old.execute(
                    "SELECT * FROM changes WHERE file = ? AND state = 'applied' ORDER BY id", key
                ).fetchall()
                texts = old.execute(
                    "SELECT revision, packed FROM texts WHERE file = ?", key
                ).fetchall()
                if rows:
                    with self._writing() as db:
                        _take_over(db, source, self._identity(file), rows, texts)

    def reconcile(self, file: Path) -> None:
        """Crash recovery: commit or abort the pending rows of processes that died.

        The row is committed where the next change has its revision as the previous one, or where
        there is none and the file has that revision; else the writer died before its swap. A group
        is settled as one, by the revisions of its first row.
        """
        name = self._identity(file)
        with self._reading() as known:
            if known is None or not pending(known, name):
                return
        with self._writing() as db, transaction(db):
            recover(db, name, file, is_dead_or_own)

    def rows(
        self,
        file: Path,
        limit: int | None = 100,
        *,
        after: int = 0,
        before: int | None = None,
        notes: bool = True,
    ) -> list[Change]:
        """Return the applied changes, newest first; those between the ids ``after`` and ``before``.

        Without ``after``, or with 0, all before: those taken over from elsewhere are older than 1.
        At most ``limit`` rows, of which one write may have thousands; all that are kept for None.
        Pages are read by the ids (keyset pagination): a new row moves none from page to page.
        Without ``notes`` events are left out that are no change of the file.
        """
        among = "" if notes else f" AND action NOT IN {NOTES}"
        with self._reading() as db:
            if db is None:
                return []
            found = db.execute(
                "SELECT * FROM changes WHERE file = ? AND state = 'applied'"  # noqa: S608
                f" AND id > ? AND id < ?{among} ORDER BY id DESC LIMIT ?",
                (
                    self._identity(file),
                    after or -_NO_ID,
                    _NO_ID if before is None else before,
                    -1 if limit is None else limit,
                ),
            ).fetchall()
            return [change_of(row) for row in found]

    def revisions(self, file: Path, limit: int) -> list[str]:
        """Return the newest revisions that changes have made, newest first, and behind them the one
        with which the history begins."""
        with self._reading() as db:
            if db is None:
                return []
            name = self._identity(file)
            found = db.execute(
                "SELECT revision FROM changes WHERE file = ? AND state = 'applied'"
                " GROUP BY revision ORDER BY max(id) DESC LIMIT ?",
                (name, limit),
            ).fetchall()
            if _has_seen(db):
                found += db.execute("SELECT revision FROM seen WHERE file = ?", (name,)).fetchall()
            return list(dict.fromkeys(str(row["revision"]) for row in found))[:limit]

    def known(self, file: Path) -> tuple[str, datetime | None]:
        """Return the last known revision of the file, and the time since which all its changes are
        recorded; empty and None where that is not known. Older ones may have been pruned.
        """
        with self._reading() as db:
            if db is None:
                return "", None
            name = self._identity(file)
            first = db.execute(
                "SELECT at FROM changes WHERE file = ? AND state = 'applied'"  # noqa: S608
                f" AND action NOT IN {NOTES} ORDER BY id LIMIT 1",
                (name,),
            ).fetchone()
            times = [] if first is None else [first["at"]]
            if _has_seen(db, "since"):  # empty once writes were pruned
                seen = db.execute("SELECT since FROM seen WHERE file = ?", (name,)).fetchone()
                times += [seen["since"]] if seen is not None and seen["since"] else []
            since = min(map(datetime.fromisoformat, times), default=None)
            return _newest_revision(db, name) or "", since

    def last_undoable(self, file: Path) -> Change | None:
        """Return the newest change by the console that is no undo and has not been undone.

        Of a group, whose rows are undone as one, it is the first row.
        """
        with self._reading() as db:
            if db is None:
                return None
            no_member = "(group_id IS NULL OR group_id = id)" if _has_groups(db) else "TRUE"
            found = db.execute(
                "SELECT * FROM changes WHERE file = :file AND state = 'applied'"  # noqa: S608
                f" AND action NOT IN {('undo', 'external', 'mirror', *NOTES)}"
                f" AND {no_member} AND id NOT IN"
                " (SELECT undoes_id FROM changes WHERE file = :file AND state = 'applied'"
                "  AND undoes_id IS NOT NULL) ORDER BY id DESC LIMIT 1",
                {"file": self._identity(file)},
            ).fetchone()
            return None if found is None else change_of(found)

    def group_of(self, change: Change) -> list[Change]:
        """Return all rows of the write that a change is of, oldest first; most are alone."""
        if change.group_id is None:
            return [change]
        with self._reading() as db:
            found = [] if db is None else db.execute(
                "SELECT * FROM changes WHERE group_id = ? AND state = 'applied' ORDER BY id",
                (change.group_id,),
            ).fetchall()  # fmt: skip
            return [change_of(row) for row in found] or [change]

    def text_of(self, file: Path, revision: str) -> bytes:
        """Return the text of a revision, given in full or by a prefix (7 characters or more)."""
        wanted = revision.strip().lower()
        if len(wanted) < _LEAST_PREFIX or not all(c in "0123456789abcdef" for c in wanted):
            raise HistoryError(
                f"{revision[:70]!r} is no revision: give at least {_LEAST_PREFIX} hex digits"
            )
        with self._reading() as db:
            found = [] if db is None else db.execute(
                "SELECT revision, packed FROM texts WHERE file = ? AND revision GLOB ? LIMIT 2",
                (self._identity(file), f"{wanted}*"),
            ).fetchall()  # fmt: skip
        if not found:
            raise HistoryError(f"no revision {wanted} of {file.name} is kept; see history")
        if len(found) > 1:
            raise HistoryError(f"{wanted} is the start of several revisions; give more digits")
        try:
            return zlib.decompress(found[0]["packed"])
        except zlib.error:
            raise HistoryError(f"the kept text of revision {wanted} is corrupt") from None

    def _insert(self, changes: Sequence[NewChange], state: str) -> int:
        """Insert the rows of one write and its texts; return the id of the first."""
        change = changes[0]
        file = self._identity(change.file)
        texts = (
            (change.previous_revision, change.before_text),
            (change.revision, change.after_text),
        )
        with self._writing() as db:
            known = {
                row["revision"]
                for row in db.execute(
                    "SELECT revision FROM texts WHERE file = ? AND revision IN (?, ?)",
                    (file, *(revision for revision, _ in texts)),
                )
            }
            packed = [
                (file, revision, zlib.compress(text, 1))
                for revision, text in texts
                if revision not in known
            ]
            with transaction(db):
                db.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", packed)
                return insert_rows(db, changes, file, state)

    def _identity(self, file: Path) -> str:
        """Return the key of a file: its path; in its own history, its name, wherever mounted."""
        found = real_path(file)
        return _as_text(found.name if self._like is not None else found)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with (
            self._translated(),
            closing(open_to_write(self.path, self._like, busy_s=self._busy_s)) as db,
        ):
            yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        with self._translated():
            db = open_to_read(self.path, busy_s=self._busy_s)
            if db is None:
                yield None
                return
            with closing(db):
                yield db

    @property
    def _busy_s(self) -> float:
        """Seconds to wait for a lock: once for all that follows, as a change takes several steps.

        A backup, or a process that hangs with the lock, must not hold a rollback up at each step.
        """
        return 0.02 if time.monotonic() - self._locked_at < _LOCKED_FOR_S else BUSY_S

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Locked:
            self._locked_at = time.monotonic()
            raise
        except FAULTS as error:
            found = fault(self.path, error)
            if isinstance(found, Locked):
                self._locked_at = time.monotonic()
            raise found from None


def _newest_revision(db: sqlite3.Connection, name: str) -> str | None:
    found = newest_change(db, name)
    return None if found is None else found[1]


def newest_change(db: sqlite3.Connection, name: str) -> tuple[int, str] | None:
    """Return the last known change of the file, its id (0 for one that was only seen) and revision;
    None for a file never seen.
    """
    row = db.execute(
        "SELECT id, revision FROM changes WHERE file = ? AND state = 'applied'"  # noqa: S608
        f" AND action NOT IN {NOTES} ORDER BY id DESC LIMIT 1",
        (name,),
    ).fetchone()
    if row is None and _has_seen(db):
        row = db.execute("SELECT 0 AS id, revision FROM seen WHERE file = ?", (name,)).fetchone()
    return None if row is None else (int(row["id"]), str(row["revision"]))


def _has_groups(db: sqlite3.Connection) -> bool:
    """Whether rows have a ``group_id``: a database opened to read may have an older schema."""
    wanted = "SELECT 1 FROM pragma_table_info('changes') WHERE name = 'group_id'"
    return db.execute(wanted).fetchone() is not None


def _has_seen(db: sqlite3.Connection, column: str = "revision") -> bool:
    """Whether the column exists in ``seen``: a database opened to read may have an older schema."""
    wanted = "SELECT 1 FROM pragma_table_info('seen') WHERE name = ?"
    return db.execute(wanted, (column,)).fetchone() is not None


def _take_over(
    db: sqlite3.Connection,
    source: Path,
    name: str,
    rows: Sequence[sqlite3.Row],
    texts: Sequence[sqlite3.Row],
) -> None:
    key = f"{_as_text(real_path(source))}#{source.stat().st_ino}"
    taken = "SELECT 1 FROM taken_over WHERE source = ?"
    if db.execute(taken, (key,)).fetchone() is not None:
        return
    with transaction(db):
        if db.execute(taken, (key,)).fetchone() is not None:
            return
        first = db.execute("SELECT coalesce(min(id), 1) AS id FROM changes").fetchone()["id"]
        start = min(int(first), 1) - len(rows)
        new_ids = {row["id"]: start + at for at, row in enumerate(rows)}
        for row in rows:
            values = {key: row[key] for key in row.keys()}  # noqa: SIM118 - not a mapping
            values |= {"id": new_ids[row["id"]], "file": name}
            for other in {"undoes_id", "group_id"} & values.keys():
                values[other] = new_ids.get(row[other])
            insert_values(db, values)
        db.executemany(
            "INSERT OR IGNORE INTO texts VALUES (?, ?, ?)",
            [(name, text["revision"], text["packed"]) for text in texts],
        )
        db.execute("INSERT INTO taken_over VALUES (?)", (key,))


def _as_text(path: Path | str) -> str:
    """Return a path as text for the database, bytes that are not UTF-8 escaped (PEP 383)."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock of the database; commit at the end, or roll back on an exception."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has ended the transaction already
            db.execute("ROLLBACK")
        raise
