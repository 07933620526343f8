"""Every change of a rollout file: who, when, what, why, and the whole text before and after."""

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from console.folders import state_folder
from console.history.errors import HistoryError
from console.history.schema import FAULTS, open_to_read, open_to_write, sentence
from console.history.who import Who

KEPT = 1_000
"""How many changes of a file are kept, with their texts."""

_LEAST_PREFIX = 7
_RECENT = 50


@dataclass(frozen=True, slots=True)
class NewChange:
    """A change about to be made. ``before`` and ``after`` are the values as people read them."""

    file: Path
    at: datetime
    who: Who
    action: str
    route: str | None
    org: str | None
    before: str
    after: str
    reason: str
    verdict: str
    previous_revision: str
    revision: str
    before_text: bytes
    after_text: bytes
    undoes_id: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was made."""

    id: int
    at: datetime
    user: str
    host: str
    ssh_origin: str
    action: str
    route: str | None
    org: str | None
    before: str
    after: str
    reason: str
    verdict: str
    previous_revision: str
    revision: str
    undoes_id: int | None

    def as_json(self) -> dict[str, str | None]:
        """Return the shape that ``history --json`` prints."""
        return {
            "revision": self.revision,
            "previous_revision": self.previous_revision,
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "user": self.user,
            "host": self.host,
            "action": self.action,
            "route": self.route,
            "org": self.org,
            "before": self.before,
            "after": self.after,
            "reason": self.reason,
        }


def default_path() -> Path:
    """Return where the history is kept; $ROLLOUT_STATE_DIR overrides the platform's folder."""
    return state_folder() / "history.sqlite3"


class History:
    """The changes of any number of rollout files, in one SQLite database.

    A change is begun before the file is swapped and committed after it, so that a crash in
    between leaves a row that ``reconcile`` settles by what the file really says. Connections are
    short: several consoles and commands share the database. Every method raises HistoryError
    alone; reading makes nothing on disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, change: NewChange) -> int:
        """Write the intent, with both texts, durably; return its id."""
        return self._insert(change, "pending")

    def commit(self, row: int) -> None:
        """Mark an intent as done, and forget what is over KEPT changes old."""
        with self._writing() as db:
            db.execute("UPDATE changes SET state = 'applied' WHERE id = ?", (row,))
            found = db.execute("SELECT file FROM changes WHERE id = ?", (row,)).fetchone()
            if found is not None and row % 50 == 0:
                _prune(db, found["file"], KEPT)

    def abandon(self, row: int) -> None:
        """Mark an intent as not done."""
        with self._writing() as db:
            db.execute("UPDATE changes SET state = 'abandoned' WHERE id = ?", (row,))

    def record_external(
        self,
        file: Path,
        who: Who,
        at: datetime,
        before: tuple[str, bytes],
        after: tuple[str, bytes],
    ) -> None:
        """Record somebody else's edit, seen on the file; (revision, text) before and after.

        Two consoles that see the same edit leave one row, and none where a console made it.
        """
        change = NewChange(
            file, at, who, "external", None, None, before[0][:12], after[0][:12],
            "", "", before[0], after[0], before[1], after[1],
        )  # fmt: skip
        self._insert(change, "applied", unless_known=True)

    def record_undelivered(
        self, file: Path, who: Who, at: datetime, said: str, reason: str, version: tuple[str, bytes]
    ) -> None:
        """Record what could not be told to anybody; ``version`` is the file's revision and text."""
        revision, text = version
        change = NewChange(
            file, at, who, "undelivered", None, None, "", said, reason, "",
            revision, revision, text, text,
        )  # fmt: skip
        self._insert(change, "applied")

    def reconcile(self, file: Path, current_revision: str) -> None:
        """Settle the intents of processes that died, by what the file says now.

        One was not made where the file still is what it was to change, or where somebody else
        changed that; where the file has gone on since, it was.
        """
        with self._reading() as db:
            if db is None:
                return
        with self._writing() as db:
            rows = db.execute(
                "SELECT id, pid, revision, previous_revision FROM changes"
                " WHERE file = ? AND state = 'pending'",
                (_identity(file),),
            ).fetchall()
            for row in rows:
                if _may_live(row["pid"]):
                    continue
                built_on = db.execute(
                    "SELECT 1 FROM changes WHERE file = ? AND id > ? AND previous_revision = ?",
                    (_identity(file), row["id"], row["revision"]),
                ).fetchone()
                instead = db.execute(
                    "SELECT 1 FROM changes WHERE file = ? AND id > ? AND previous_revision = ?"
                    " AND state != 'abandoned'",
                    (_identity(file), row["id"], row["previous_revision"]),
                ).fetchone()
                done = row["revision"] == current_revision or built_on is not None
                if not done and row["previous_revision"] != current_revision and instead is None:
                    done = True
                db.execute(
                    "UPDATE changes SET state = ? WHERE id = ?",
                    ("applied" if done else "abandoned", row["id"]),
                )

    def rows(self, file: Path, limit: int = 100, offset: int = 0) -> list[Change]:
        """Return the changes made, newest first."""
        with self._reading() as db:
            if db is None:
                return []
            found = db.execute(
                "SELECT * FROM changes WHERE file = ? AND state = 'applied'"
                " ORDER BY id DESC LIMIT ? OFFSET ?",
                (_identity(file), limit, offset),
            ).fetchall()
            return [_change(row) for row in found]

    def last_undoable(self, file: Path) -> Change | None:
        """Return our newest change that is not an undo and has not been undone."""
        with self._reading() as db:
            if db is None:
                return None
            found = db.execute(
                "SELECT * FROM changes WHERE file = :file AND state = 'applied'"
                " AND action NOT IN ('undo', 'external', 'undelivered') AND id NOT IN"
                " (SELECT undoes_id FROM changes WHERE file = :file AND state = 'applied'"
                "  AND undoes_id IS NOT NULL) ORDER BY id DESC LIMIT 1",
                {"file": _identity(file)},
            ).fetchone()
            return None if found is None else _change(found)

    def text_of(self, file: Path, revision: str) -> bytes:
        """Return the text of a revision, given whole or by its start (7 characters or more)."""
        wanted = revision.strip().lower()
        if len(wanted) < _LEAST_PREFIX or not all(c in "0123456789abcdef" for c in wanted):
            raise HistoryError(
                f"{revision[:70]!r} is no revision: give at least {_LEAST_PREFIX} hex digits"
            )
        with self._reading() as db:
            found = [] if db is None else db.execute(
                "SELECT revision, packed FROM texts WHERE file = ? AND revision GLOB ? LIMIT 2",
                (_identity(file), f"{wanted}*"),
            ).fetchall()  # fmt: skip
        if not found:
            raise HistoryError(f"no revision {wanted} of {file.name} is kept; see history")
        if len(found) > 1:
            raise HistoryError(f"{wanted} is the start of several revisions; give more digits")
        try:
            return zlib.decompress(found[0]["packed"])
        except zlib.error:
            raise HistoryError(f"the kept text of revision {wanted} is damaged") from None

    def _insert(self, change: NewChange, state: str, *, unless_known: bool = False) -> int:
        """Write a row and its texts; 0 for one whose revision a recent row has already."""
        file = _identity(change.file)
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
            db.execute("BEGIN IMMEDIATE")
            try:
                if unless_known and _is_known(db, file, change.revision):
                    db.execute("ROLLBACK")
                    return 0
                db.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?, ?)", packed)
                row = _insert_row(db, change, file, state)
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise
            return row

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(open_to_write(self.path)) as db, self._translated():
            yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        db = open_to_read(self.path)
        if db is None:
            yield None
            return
        with closing(db), self._translated():
            yield db

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise HistoryError(sentence(self.path, error)) from None


def _is_known(db: sqlite3.Connection, file: str, revision: str) -> bool:
    recent = db.execute(
        "SELECT revision FROM changes WHERE file = ? AND state != 'abandoned'"
        " ORDER BY id DESC LIMIT ?",
        (file, _RECENT),
    )
    return any(row["revision"] == revision for row in recent)


def _insert_row(db: sqlite3.Connection, change: NewChange, file: str, state: str) -> int:
    values: dict[str, Any] = {
        "file": file,
        "state": state,
        "pid": os.getpid(),
        "at": change.at.isoformat(),
        "user": change.who.user,
        "host": change.who.host,
        "ssh_origin": change.who.ssh_origin,
        "action": change.action,
        "route": change.route,
        "org": change.org,
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
        "verdict": change.verdict,
        "previous_revision": change.previous_revision,
        "revision": change.revision,
        "undoes_id": change.undoes_id,
    }
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    cursor = db.execute(f"INSERT INTO changes ({names}) VALUES ({places})", values)  # noqa: S608
    return int(cursor.lastrowid or 0)


def _prune(db: sqlite3.Connection, file: str, keep: int) -> None:
    db.execute(
        "DELETE FROM changes WHERE file = ? AND id NOT IN"
        " (SELECT id FROM changes WHERE file = ? ORDER BY id DESC LIMIT ?)",
        (file, file, keep),
    )
    db.execute(
        "DELETE FROM texts WHERE file = :file AND revision NOT IN"
        " (SELECT revision FROM changes WHERE file = :file"
        "  UNION SELECT previous_revision FROM changes WHERE file = :file)",
        {"file": file},
    )


def _change(row: sqlite3.Row) -> Change:
    names = (
        "id", "user", "host", "ssh_origin", "action", "route", "org", "before", "after",
        "reason", "verdict", "previous_revision", "revision", "undoes_id",
    )  # fmt: skip
    return Change(at=datetime.fromisoformat(row["at"]), **{name: row[name] for name in names})


def _identity(file: Path) -> str:
    return str(file.resolve())


def _may_live(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()
