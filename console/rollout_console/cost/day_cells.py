"""What final days have cost, by route, org and key: kept so that a month is matched once.

It is SQLite in the state folder, beside the store of usage records. A day that is kept outlives the
lines of the log that it was attributed by.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, Self

from rollout_console.common.databases import make_private, quarantine
from rollout_console.common.files import real_path
from rollout_console.common.folders import folder_of
from rollout_console.reconcile.money import plain, stored

BUSY_S = 20.0
"""How long another process that writes the days is waited for, in seconds."""
_VERSION = 1
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS days (
        day INTEGER PRIMARY KEY,    -- days since 1970-01-01, in UTC
        since REAL                  -- epoch seconds; where the log began after the day's costs
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS cells (
        day INTEGER NOT NULL,
        route TEXT,                 -- NULL: no line of the log explains it
        org TEXT,
        key_id TEXT NOT NULL,
        cost TEXT NOT NULL          -- exact US dollars
    )
    """,
    "CREATE INDEX IF NOT EXISTS cells_by_day ON cells (day)",
    f"PRAGMA user_version = {_VERSION}",
)
_FAULTS = (sqlite3.Error, OSError, ValueError, OverflowError)


_SHAPES = frozenset(((str, str, str), (NoneType, NoneType, str)))
"""The types of a cell's columns: SQLite keeps any type in any column."""
_MOST_TIME = 7_258_118_400.0
"""The year 2200 in epoch seconds: a time after it is none."""


class Cell(NamedTuple):
    """Whose the cost of a day is; ``route`` and ``org`` are None where no line explains it."""

    route: str | None
    org: str | None
    key_id: str


Day = Mapping[Cell, Decimal]


class DayCells:
    """The kept days of one rollout file, log and profile.

    It raises nothing: a damaged file is renamed and begun anew, one that cannot be written keeps
    nothing, and ``trouble`` says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""
        self._db: sqlite3.Connection | None = None
        self._file = 0
        """The inode of the file that is open, or was to be."""

    def __enter__(self) -> Self:
        try:
            self._db = self._opened()
        except _FAULTS as error:
            self._begin_anew(error)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def days(self, first: int, last: int) -> dict[int, float | None]:
        """Return the days that are kept between two, both inclusive, and since when of each."""
        try:
            rows = self._rows("SELECT day, since FROM days WHERE day BETWEEN ? AND ?", first, last)
            return {int(day): None if since is None else _time(since) for day, since in rows}
        except _FAULTS as error:
            self._begin_anew(error)
        return {}

    def cells(self, day: int) -> Iterator[tuple[Cell, Decimal]]:
        """Yield the costs of a kept day. Raises ValueError or sqlite3.Error."""
        for route, org, key_id, cost in self._rows(
            "SELECT route, org, key_id, cost FROM cells WHERE day = ?", day
        ):
            if tuple(map(type, (route, org, key_id))) not in _SHAPES:
                raise ValueError("a cell that is none")
            yield Cell(route, org, key_id), stored(cost)

    def day(self, day: int) -> list[tuple[Cell, Decimal]] | None:
        """Return the costs of a kept day; None where they cannot be read, and all begins anew."""
        try:
            return [*self.cells(day)]
        except (*_FAULTS, TypeError) as error:
            self._begin_anew(error)
        return None

    def keep(self, days: Mapping[int, Day], since: Mapping[int, float]) -> None:
        """Keep some days, in one transaction; one that is kept already is replaced."""
        if self._db is None or not days:
            return
        try:
            with self._db as db:
                db.execute("BEGIN IMMEDIATE")
                self._forget(db, days)
                db.executemany(
                    "INSERT INTO days VALUES (?, ?)", ((day, since.get(day)) for day in days)
                )
                db.executemany(
                    "INSERT INTO cells VALUES (?, ?, ?, ?, ?)",
                    (
                        (day, *cell, plain(cost))
                        for day, costs in days.items()
                        for cell, cost in costs.items()
                    ),
                )
        except _FAULTS as error:
            self._say(f"the days at {self.path} cannot be kept ({error}): each is matched anew")

    def drop_before(self, day: int) -> None:
        """Forget the days before one; errors are ignored, as they are in nobody's way."""
        if self._db is None:
            return
        with suppress(*_FAULTS), self._db as db:
            old = [one for (one,) in self._rows("SELECT day FROM days WHERE day < ?", day)]
            if old:
                self._forget(db, old)

    def _forget(self, db: sqlite3.Connection, days: Iterable[int]) -> None:
        for table in ("days", "cells"):
            db.executemany(
                f"DELETE FROM {table} WHERE day = ?",  # noqa: S608
                ((day,) for day in days),
            )

    def _rows(self, statement: str, *given: int) -> list[tuple[Any, ...]]:
        # All at once: a cursor that is left half read outlives the database that is closed.
        return [] if self._db is None else self._db.execute(statement, given).fetchall()

    def _opened(self) -> sqlite3.Connection:
        make_private(self.path)
        self._file = self.path.stat().st_ino
        db = sqlite3.connect(self.path, timeout=BUSY_S)
        try:
            version = _version(db)
            if version == 0:
                version = _made(db)
            if version != _VERSION:
                raise sqlite3.DatabaseError("it was made by another version")
        except BaseException:
            db.close()
            raise
        return db

    def _begin_anew(self, error: Exception) -> None:
        """Put a damaged file aside; one that is locked or not to be read is done without."""
        self._close()
        if not _is_damage(error):
            self._say(
                f"the days kept at {self.path} cannot be read ({error}): each is matched anew"
            )
            return
        try:
            aside = quarantine(self.path, self._file)
            self._db = self._opened()
            self._say(
                f"the days kept at {self.path} were unusable ({error}) and are counted anew: what"
                f" the log no longer has is not attributed; see {aside}"
            )
        except _FAULTS as second:
            self._say(f"the days at {self.path} cannot be kept ({second}): each is matched anew")

    def _say(self, words: str) -> None:
        self.trouble = self.trouble or words

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _made(db: sqlite3.Connection) -> int:
    """Make the tables in one transaction, as SQLite commits each by itself otherwise; return the
    version, which is of another process where that was first."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        if version := _version(db):
            return version
        for statement in _SCHEMA:
            db.execute(statement)
    return _VERSION


def _time(since: Any) -> float:
    """Return a time of the database, in epoch seconds; ValueError for one that is none."""
    found = float(since)
    if not 0 <= found <= _MOST_TIME:
        raise ValueError("a time that is none")
    return found


def _is_damage(error: Exception) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return "no such" in str(error)
    return not isinstance(error, OSError)


def cells_path(
    folder: Path, rollout_file: Path, access_log: str, profile: str, base_url: str
) -> Path:
    """Return where the final days of a rollout file, its log and a profile are kept."""
    log = folder_of(real_path(rollout_file)).absolute() / access_log
    given = f"{real_path(rollout_file)}\n{log}\n{profile}\n{base_url}"
    return folder / f"spent-days-{hashlib.sha256(given.encode()).hexdigest()[:16]}.sqlite3"
