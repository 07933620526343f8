"""The rows of the history: a change about to be made, one that was made, and an external edit."""

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from rollout_console.common.process_id import process_id
from rollout_console.history.actor import Actor


class NewChange(msgspec.Struct, frozen=True):
    """A change about to be made. ``before`` and ``after`` are the values as people read them."""

    file: Path
    at: datetime
    who: Actor
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
    moves: str = ""
    """The shares that differ, as JSON, from which the last change of each share is determined."""


UNKNOWN_AUTHOR = "somebody else"
"""In place of the author of an external edit that does not name one."""


class Change(msgspec.Struct, frozen=True):
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
    moves: str = ""
    group_id: int | None = None
    """Of one write with several rows: the id of its first row, also in that row; else None."""

    @property
    def author(self) -> str:
        """The author as ``user@host``; the host of an external edit only detected it."""
        return f"{self.user}@{self.host}" if self.user else UNKNOWN_AUTHOR

    @property
    def user_name(self) -> str:
        """The user alone, for a narrow column."""
        return self.user or UNKNOWN_AUTHOR

    def as_json(self) -> dict[str, str | None]:
        """Return the JSON object that ``history --json`` prints."""
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


NOTES = ("undelivered", "put_back", "acknowledge")
"""Actions of rows that record an event, and no change of the file."""

Describe = Callable[[bytes, bytes], "Edited"]
"""Describes an edit, from the text before and the text after it."""


class Edited(msgspec.Struct, frozen=True):
    """The effect of an external edit: in words, with its author if the text names one, and the
    shares that differ, as JSON."""

    words: str
    who: Actor | None = None
    moves: str = ""
    route: str | None = None
    org: str | None = None


def insert_rows(db: sqlite3.Connection, changes: Sequence[NewChange], file: str, state: str) -> int:
    """Insert the changes of one write, which form a group if they are several; return the first id.

    The first row has the file's transition. The others have the revision after it as both of
    theirs, so that each row's previous revision is the revision of the row before.
    """
    first, *others = changes
    row = insert_row(db, first, file, state)
    if others:
        db.execute("UPDATE changes SET group_id = id WHERE id = ?", (row,))
    for other in others:
        insert_row(db, replace(other, previous_revision=first.revision), file, state, row)
    return row


def insert_row(
    db: sqlite3.Connection, change: NewChange, file: str, state: str, group_id: int | None = None
) -> int:
    """Insert a change by this process, pending or applied; return its id."""
    values = columns_of(change) | {
        "file": file,
        "state": state,
        "pid": os.getpid(),
        "process": process_id(),
        "group_id": group_id,
    }
    return insert_values(db, values)


def columns_of(change: NewChange) -> dict[str, Any]:
    """Return the columns that say what a change is, those of its place in a database aside."""
    columns = {
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
        "moves": change.moves,
    }
    return {name: _as_utf8(value) for name, value in columns.items()}


def insert_values(
    db: sqlite3.Connection, values: Mapping[str, Any], *, unless_there: bool = False
) -> int:
    """Insert a row of these columns, which must be trusted names; return its id.

    With ``unless_there`` a row that has this id already stays as it is.
    """
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    verb = "INSERT OR IGNORE" if unless_there else "INSERT"
    cursor = db.execute(f"{verb} INTO changes ({names}) VALUES ({places})", values)
    return int(cursor.lastrowid or 0)


def _as_utf8(value: Any) -> Any:
    """Replace lone surrogates, to which an argument's bytes decode that are no UTF-8 (PEP 383)."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def change_of(row: sqlite3.Row) -> Change:
    """Return a row as a Change; a row of schema 1 has no moves, one before schema 4 no group."""
    names = (
        "id", "user", "host", "ssh_origin", "action", "route", "org", "before", "after",
        "reason", "verdict", "previous_revision", "revision", "undoes_id",
    )  # fmt: skip
    columns = row.keys()
    return Change(
        at=datetime.fromisoformat(row["at"]),
        moves=row["moves"] if "moves" in columns else "",
        group_id=row["group_id"] if "group_id" in columns else None,
        **{name: row[name] for name in names},
    )
