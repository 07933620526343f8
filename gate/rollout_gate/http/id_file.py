"""The file of ids that the sides have made (SQLite), in the folder of the access log."""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from rollout_gate.file.model import Side
from rollout_gate.http.operations import Bound, Kind
from rollout_gate.http.shared_database import (
    SharedDatabase,
    opened,
    opened_to_read,
    opened_to_read_once,
    storable,
    writing,
)

KEPT_S = 30 * 86_400
"""Retention of an id after its last use, in seconds."""
MOST_ROWS = 1_000_000
"""Limit of the ids in the file, about 200 bytes each; those that were not used longest go first."""

_WRITE_WAIT_S = 2.0
_READ_WAIT_S = 0.05
"""Busy timeouts in seconds: of the thread that writes, and of a request that looks an id up."""
_TRIM_EVERY = 10_000
"""The number of ids written after which expired ones, and those above the limit, are deleted."""

_SCHEMA = """
create table if not exists ids (
  id text primary key, side text not null, route text not null, org text not null,
  kind text not null, thread text not null, used_at real not null
) without rowid;
create index if not exists ids_by_use on ids (used_at);
"""
_PUT = "insert or replace into ids values (?, ?, ?, ?, ?, ?, ?)"
_FIND = "select side, route, org, kind, thread, used_at from ids where id = ?"
_OPEN = (
    "select count(distinct thread) from ids"
    " where used_at >= :since and side = 'tokenlab' and thread <> id"
    " and (:route is null or route = :route) and (:org is null or org = :org)"
)


class IdWriter(SharedDatabase):
    """Writes ids to the file; used by one background thread alone, as it may wait for a lock."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._until_trim = 0

    def write(self, ids: Mapping[str, Bound]) -> None:
        """Write ids in one transaction; raises sqlite3.Error."""
        with self._lock:
            try:
                database = self._open()
                with writing(database):
                    database.executemany(_PUT, _rows(ids))
                    self._until_trim -= len(ids)
                    if self._until_trim <= 0:
                        self._until_trim = _TRIM_EVERY
                        _trim(database, time.time())
            except sqlite3.Error:
                self._drop()
                raise

    def _connect(self) -> sqlite3.Connection:
        database = opened(self._path, _WRITE_WAIT_S)
        try:
            # A crash of the machine may lose the last ids, never the file.
            database.execute("pragma synchronous = normal")
            database.executescript(_SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        return database


class IdReader(SharedDatabase):
    """Looks ids up that other processes have written; never creates the file."""

    def find(self, names: Sequence[str]) -> dict[str, Bound]:
        """Return what is known of ids; raises sqlite3.Error, also for a file that is missing."""
        with self._lock:
            try:
                database = self._open()
                rows = [database.execute(_FIND, (storable(name),)).fetchone() for name in names]
                found = zip(names, rows, strict=True)
                return {name: _bound(row) for name, row in found if row}
            except sqlite3.Error:
                self._drop()
                raise

    def _connect(self) -> sqlite3.Connection:
        return opened_to_read(self._path, _READ_WAIT_S)


def open_conversations(path: Path, route: str | None, org: str | None, since: float) -> int:
    """Count the conversations that TokenLab holds, and that went on after ``since``.

    It counts those of more than one turn, of one route and org, or of all for None; ``since`` is
    in epoch seconds. Raises sqlite3.Error for a file that is missing, locked or no database.
    """
    database = opened_to_read_once(path, _READ_WAIT_S)
    try:
        (count,) = database.execute(_OPEN, {"route": route, "org": org, "since": since}).fetchone()
        return int(count)
    finally:
        database.close()


def _rows(ids: Mapping[str, Bound]) -> Iterable[tuple[str, str, str, str, str, str, float]]:
    for name, one in ids.items():
        yield (
            *(storable(name), one.side, storable(one.route), storable(one.org)),
            *(one.kind, storable(one.thread), one.used_at),
        )


def _bound(row: tuple[str, str, str, str, str, float]) -> Bound:
    side, route, org, kind, thread, used_at = row
    return Bound(cast(Side, side), route, org, cast(Kind, kind), thread, used_at)


def _trim(database: sqlite3.Connection, now: float) -> None:
    database.execute("delete from ids where used_at < ?", (now - KEPT_S,))
    database.execute(
        "delete from ids where used_at < "
        "(select used_at from ids order by used_at desc limit 1 offset ?)",
        (MOST_ROWS,),
    )
