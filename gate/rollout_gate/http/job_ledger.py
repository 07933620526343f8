"""Which async media jobs were created, so that none is created and paid twice."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

from rollout_gate.fork_lock import Locked
from rollout_gate.paths import absolute

log = logging.getLogger("rollout_gate")

_Key = tuple[str, str, str]
"""Route, org and job id."""

KEPT_S = 14 * 86_400
"""How long a job is remembered, in seconds."""

MOST_KEPT = 100_000
"""So many jobs are remembered in memory while the file cannot be written; then the oldest go."""

_WAIT_S = 5.0
_WAIT_AGAIN_S = 0.1
_PAUSE_S = 1.0
"""How long to wait for a lock of the file in seconds, the first time and after one that was in
vain, and for how long nothing is written after that: all requests share the file."""

_PLAUSIBLE_S = 86_400
"""Old jobs are forgotten only if the clock is no further than this ahead of the last create."""

MOST_BEGUN = 10_000
"""So many creates are remembered as under way, to keep their side with an answer."""

_ANY_ORG = "\x00"
"""The org of jobs from before orgs were kept, which may be any org's."""
_SCHEMA = """
create table if not exists jobs (
  job_id text not null, route text not null, side text not null, sent_at real not null,
  task_id text, status integer, body blob, org text not null, primary key (route, org, job_id)
) without rowid;
create index if not exists jobs_by_task on jobs (task_id);
create index if not exists jobs_by_time on jobs (sent_at);
"""
_ADD_ORG = """
begin immediate;
alter table jobs rename to jobs_without_org;
"""
_MOVE_ALL = """
insert into jobs select job_id, route, side, sent_at, task_id, status, body, char(0)
  from jobs_without_org;
drop table jobs_without_org;
commit;
"""
_WANTED = (
    "select side, sent_at, task_id, status, body from jobs"
    " where route = ? and org in (?, char(0)) and job_id = ?"
)
_SIDE_OF = "select side from jobs where task_id = ?"
_FORGET = "delete from jobs where route = ? and org in (?, char(0)) and job_id = ?"


@dataclass(frozen=True, slots=True)
class Job:
    """A create that was sent; ``body`` is the answer to it, and None while that is not known."""

    side: str
    sent_at: float
    task_id: str | None
    status: int | None
    body: bytes | None


class LedgerBusyError(Exception):
    """Somebody holds the file for so long that nobody knows what it has; try again."""


class TaskLedger(Locked):
    """Remembers creates by route, org and job id, in a file that several processes may share.

    ``org`` is whom a job is for, so that the same job id of another org is another job.

    A create is written down before it is sent. The file is a SQLite database with a write-ahead
    log, so that it can be read while somebody holds it for writing. What cannot be written is
    remembered in memory, and written as soon as the file can be used again; the log record of
    ``rollout_gate`` says both.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = absolute(path)
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._pid = os.getpid()
        self._begun: dict[_Key, Job] = {}
        self._unwritten: dict[_Key, Job | None] = {}
        self._failed_at = -inf
        self._failing = False

    def begin(self, route: str, job_id: str, side: str, *, org: str = "") -> Job | None:
        """Write down that a create is about to be sent; return the job if there is one already.

        Raises LedgerBusyError where the file is there and cannot be read for a lock.
        """
        key, job = _key(route, org, job_id), Job(side, time.time(), None, None, None)
        with self._lock:
            known = self._unwritten[key] if key in self._unwritten else self._look(key)
            if known is None:
                known = self._write(key, job, lambda database: _insert(database, key, job))
            if known is None:
                self._begun[key] = job
                if len(self._begun) > MOST_BEGUN:
                    del self._begun[next(iter(self._begun))]
            return known

    def created(
        self,
        route: str,
        job_id: str,
        task_id: str | None,
        status: int,
        body: bytes,
        *,
        org: str = "",
    ) -> None:
        """Keep the answer to a create, also where the file has lost that it was begun."""
        key = _key(route, org, job_id)
        with self._lock:
            begun = self._begun.pop(key, None) or self._unwritten.get(key)
            job = begun or Job("", time.time(), None, None, None)
            job = replace(job, task_id=_text(task_id), status=status, body=body)
            self._write(key, job, lambda database: _update(database, key, job))

    def forget(self, route: str, job_id: str, *, org: str = "") -> None:
        """Forget a job: it is certain that nothing was created, or a person found that out."""
        key = _key(route, org, job_id)
        with self._lock:
            self._begun.pop(key, None)
            self._write(key, None, lambda database: _delete(database, key))

    def side_of(self, task_id: str) -> str | None:
        """Return the side that a task was created on; None for one that is not known."""
        wanted = _text(task_id)
        with self._lock:
            for job in self._unwritten.values():
                if job is not None and job.task_id == wanted:
                    return job.side or None
            try:
                found = self._file().execute(_SIDE_OF, (wanted,)).fetchone()
            except sqlite3.Error as error:
                self._fail(error)
                return None
            return str(found[0]) if found else None

    def close(self) -> None:
        """Write what is not written yet, and close the file; a later call opens it again."""
        with self._lock:
            if self._unwritten:
                self._failed_at = -inf
                with suppress(sqlite3.Error):
                    self._file()
            if self._unwritten:
                log.error("%d jobs could not be written to %s", len(self._unwritten), self._path)
            self._drop()

    def _look(self, key: _Key) -> Job | None:
        try:
            row = self._file().execute(_WANTED, key).fetchone()
        except sqlite3.Error as error:
            self._fail(error)
            if _is_lock(error):
                raise LedgerBusyError from None
            return None
        return Job(*row) if row else None

    def _write(
        self, key: _Key, job: Job | None, action: Callable[[sqlite3.Connection], Job | None]
    ) -> Job | None:
        """Change the file, or remember the change until it can be; return a job in the way."""
        if time.monotonic() - self._failed_at >= _PAUSE_S:
            try:
                return action(self._file())
            except sqlite3.Error as error:
                self._fail(error)
        self._unwritten[key] = job
        if len(self._unwritten) > MOST_KEPT:
            del self._unwritten[next(iter(self._unwritten))]
        return None

    def _file(self) -> sqlite3.Connection:
        """Open the file where it is not open, and write what could not be written before.

        Raises sqlite3.Error where it cannot be opened.
        """
        database = self._open()
        if not self._unwritten and self._failing:
            log.info("%s is used again; no job is missing in it", self._path)
            self._failing = False
            database.execute(f"pragma busy_timeout = {int(_WAIT_S * 1000)}")
        elif self._unwritten and time.monotonic() - self._failed_at >= _PAUSE_S:
            try:
                self._catch_up(database)
            except sqlite3.Error as error:  # it may be read all the same
                self._fail(error)
                database = self._open()
        return database

    def _catch_up(self, database: sqlite3.Connection) -> None:
        """Write what could not be written, whole or not at all."""
        with _writing(database):
            for key, job in self._unwritten.items():
                if job is None:
                    database.execute(_FORGET, key)
                elif (other := _put(database, key, job)) is not None:
                    log.error(
                        "job %s of route %s was created twice while %s could not be used:"
                        " on %s as task %s, and on %s as task %s",
                        *(key[2], key[0], self._path),
                        *(other.side, other.task_id, job.side, job.task_id),
                    )
        self._unwritten.clear()

    def _fail(self, error: Exception) -> None:
        """Note that the file cannot be used, and open it anew the next time."""
        if not self._failing:
            log.warning(
                "%s cannot be used (%s); jobs are remembered in memory until it can be",
                self._path,
                error,
            )
        self._failing = True
        self._failed_at = time.monotonic()
        self._drop()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid != os.getpid():
            # A connection must not be used, and not even closed, on the other side of a fork.
            _of_parents.append(self._connection)
            self._connection = None
        if self._connection is not None and self._identity != _identity(self._path):
            self._drop()  # deleted or replaced: what would be written to the old one is lost
        if self._connection is None:
            self._pid = os.getpid()
            self._connection = _connect(self._path, _WAIT_AGAIN_S if self._failing else _WAIT_S)
            self._identity = _identity(self._path)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


_of_parents: list[sqlite3.Connection] = []


class _writing:
    """A write transaction: begun at once, committed at the end, rolled back on any error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("begin immediate")

    def __exit__(self, kind: object, *error: object) -> None:
        self._database.execute("commit" if kind is None else "rollback")


def _insert(database: sqlite3.Connection, key: _Key, job: Job) -> Job | None:
    """Write a job that is about to be sent; return the one that somebody else has sent."""
    with _writing(database):
        (last,) = database.execute("select max(sent_at) from jobs").fetchone()
        if last is not None and job.sent_at - last < _PLAUSIBLE_S:
            # A clock that was set ahead for a moment must not make all of them old.
            database.execute("delete from jobs where sent_at < ?", (job.sent_at - KEPT_S,))
        return _put(database, key, job)


def _put(database: sqlite3.Connection, key: _Key, job: Job) -> Job | None:
    """Write a job as it is; return the one of somebody else that is in the way."""
    row = database.execute(_WANTED, key).fetchone()
    if row is not None and row[1] != job.sent_at:
        return Job(*row)
    _replace(database, key, job)
    return None


def _replace(database: sqlite3.Connection, key: _Key, job: Job) -> None:
    database.execute(
        "insert or replace into jobs"
        " (route, org, job_id, side, sent_at, task_id, status, body)"
        " values (?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, job.side, job.sent_at, job.task_id, job.status, job.body),
    )


def _update(database: sqlite3.Connection, key: _Key, job: Job) -> None:
    with _writing(database):
        done = database.execute(
            "update jobs set task_id = ?, status = ?, body = ?"
            " where route = ? and org in (?, char(0)) and job_id = ?",
            (job.task_id, job.status, job.body, *key),
        )
        if not done.rowcount:  # the file was deleted, or replaced, since the create was sent
            _replace(database, key, job)


def _delete(database: sqlite3.Connection, key: _Key) -> None:
    with _writing(database):
        database.execute(_FORGET, key)


def ledger_at(path: str | Path) -> TaskLedger:
    """Return the ledger of a file that all clients of this process share.

    While the file cannot be used they remember the same jobs.
    """
    with _opening:
        known = _ledgers.get(absolute(path))
        if known is None:
            known = _ledgers[absolute(path)] = TaskLedger(path)
        return known


_opening = Lock()
_ledgers: WeakValueDictionary[Path, TaskLedger] = WeakValueDictionary()


def _key(route: str, org: str, job_id: str) -> _Key:
    return _text(route) or "", _text(org) or "", _text(job_id) or ""


def _text(value: str | None) -> str | None:
    """Return a text that SQLite takes: a lone surrogate is written out."""
    return None if value is None else value.encode("utf-8", "backslashreplace").decode()


def _is_lock(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it says more exactly which
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _connect(path: Path, wait_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=wait_s, check_same_thread=False, isolation_level=None
    )
    try:
        # With a write-ahead log it can be read while it is locked for writing; where there can
        # be none (some network file systems) it stays with what it has.
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        columns = {row[1] for row in connection.execute("pragma table_info(jobs)")}
        old = bool(columns) and "org" not in columns
        connection.executescript(f"{_ADD_ORG}{_SCHEMA}{_MOVE_ALL}" if old else _SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
