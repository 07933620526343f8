"""Idempotent creation of async media jobs: a ledger in SQLite, so that none is paid for twice."""

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path

import msgspec
from msgspec.structs import replace

from rollout_gate.http.by_path import ByPath
from rollout_gate.http.shared_database import SharedDatabase, is_lock, opened, storable, writing

log = logging.getLogger("rollout_gate")

_Key = tuple[str, str, str]
"""Route, org and job id."""

KEPT_S = 14 * 86_400
"""Retention of a job, in seconds."""

MOST_KEPT = 100_000
"""Limit of the in-memory buffer of jobs while the file cannot be written; evicts the oldest."""

_WAIT_S = 5.0
_WAIT_AGAIN_S = 0.1
_PAUSE_S = 1.0
"""In seconds: the busy timeout for a lock of the file, the busy timeout after a failure, and how
long writes are suspended after a failure (back-off), as all requests share the file."""

_PLAUSIBLE_S = 86_400
"""Expired jobs are deleted only if the clock is less than this many seconds after the last job."""

MOST_BEGUN = 10_000
"""Limit of the creates in flight that are kept in memory, to store their side with the response."""

_ANY_ORG = "\x00"
"""Wildcard org of jobs from before the schema had orgs, which matches any org."""
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


class Job(msgspec.Struct, frozen=True):
    """A create that was sent; ``body`` is the response to it, None while that is not known.

    ``sent_at`` is in epoch seconds.
    """

    side: str
    sent_at: float
    task_id: str | None
    status: int | None
    body: bytes | None


class LedgerBusyError(Exception):
    """Another process has kept the database locked beyond the busy timeout; retry later."""


class TaskLedger(SharedDatabase):
    """Records creates by route, org and job id, in a file that several processes may share.

    ``org`` is whom a job is for, so that the same job id of another org is another job.

    A create is recorded before it is sent (write-ahead). The file is a SQLite database in WAL
    mode, so that it can be read while another process has it locked for writing. What cannot be
    written is buffered in memory, and flushed as soon as the file can be used again; the logger
    ``rollout_gate`` reports both.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._begun: dict[_Key, Job] = {}
        self._unwritten: dict[_Key, Job | None] = {}
        self._failed_at = -inf
        self._failing = False

    def begin(self, route: str, job_id: str, side: str, *, org: str = "") -> Job | None:
        """Record that a create is about to be sent; returns the job if there is one already.

        Raises LedgerBusyError where the file exists and a lock prevents reading it.
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
        """Record the response to a create, even if the file has lost the record of its begin."""
        key = _key(route, org, job_id)
        with self._lock:
            begun = self._begun.pop(key, None) or self._unwritten.get(key)
            job = begun or Job("", time.time(), None, None, None)
            task_id = None if task_id is None else storable(task_id)
            job = replace(job, task_id=task_id, status=status, body=body)
            self._write(key, job, lambda database: _update(database, key, job))

    def forget(self, route: str, job_id: str, *, org: str = "") -> None:
        """Delete a job: nothing was created for certain, or an operator found that out."""
        key = _key(route, org, job_id)
        with self._lock:
            self._begun.pop(key, None)
            self._write(key, None, lambda database: _delete(database, key))

    def side_of(self, task_id: str) -> str | None:
        """Return the side that a task was created on; None for an unknown task."""
        wanted = storable(task_id)
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
        """Flush the buffered jobs, and close the file; a later call reopens it."""
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
            if is_lock(error):
                raise LedgerBusyError from None
            return None
        return Job(*row) if row else None

    def _write(
        self, key: _Key, job: Job | None, action: Callable[[sqlite3.Connection], Job | None]
    ) -> Job | None:
        """Change the file, or buffer the change until it can be; return a conflicting job."""
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
        """Open the file if it is not open, and flush the buffered jobs.

        Raises sqlite3.Error where it cannot be opened.
        """
        database = self._open()
        if not self._unwritten and self._failing:
            log.info("%s is usable again; all buffered jobs were written", self._path)
            self._failing = False
            database.execute(f"pragma busy_timeout = {int(_WAIT_S * 1000)}")
        elif self._unwritten and time.monotonic() - self._failed_at >= _PAUSE_S:
            try:
                self._catch_up(database)
            except sqlite3.Error as error:  # reads may work all the same
                self._fail(error)
                database = self._open()
        return database

    def _catch_up(self, database: sqlite3.Connection) -> None:
        """Flush the buffered jobs in one transaction."""
        with writing(database):
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
        """Record that the file cannot be used, and drop the connection to reopen it next time."""
        if not self._failing:
            log.warning(
                "%s cannot be used (%s); jobs are buffered in memory until it can be",
                self._path,
                error,
            )
        self._failing = True
        self._failed_at = time.monotonic()
        self._drop()

    def _connect(self) -> sqlite3.Connection:
        return _connect(self._path, _WAIT_AGAIN_S if self._failing else _WAIT_S)


def _insert(database: sqlite3.Connection, key: _Key, job: Job) -> Job | None:
    """Insert a job that is about to be sent; return the one that another request has sent."""
    with writing(database):
        (last,) = database.execute("select max(sent_at) from jobs").fetchone()
        if last is not None and job.sent_at - last < _PLAUSIBLE_S:
            # A clock that jumps ahead for a moment must not expire all jobs.
            database.execute("delete from jobs where sent_at < ?", (job.sent_at - KEPT_S,))
        return _put(database, key, job)


def _put(database: sqlite3.Connection, key: _Key, job: Job) -> Job | None:
    """Insert or replace a job; return the conflicting one of another request, if any."""
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
    with writing(database):
        done = database.execute(
            "update jobs set task_id = ?, status = ?, body = ?"
            " where route = ? and org in (?, char(0)) and job_id = ?",
            (job.task_id, job.status, job.body, *key),
        )
        if not done.rowcount:  # the file was deleted, or replaced, since the create was sent
            _replace(database, key, job)


def _delete(database: sqlite3.Connection, key: _Key) -> None:
    with writing(database):
        database.execute(_FORGET, key)


def ledger_at(path: str | Path) -> TaskLedger:
    """Return the ledger of a file that all clients of this process share.

    They also share its in-memory buffer while the file cannot be used.
    """
    return _ledgers.get(path)


_ledgers = ByPath(TaskLedger)


def _key(route: str, org: str, job_id: str) -> _Key:
    return storable(route), storable(org), storable(job_id)


def _connect(path: Path, wait_s: float) -> sqlite3.Connection:
    connection = opened(path, wait_s)
    try:
        connection.execute("pragma synchronous = full")
        columns = {row[1] for row in connection.execute("pragma table_info(jobs)")}
        old = bool(columns) and "org" not in columns
        connection.executescript(f"{_ADD_ORG}{_SCHEMA}{_MOVE_ALL}" if old else _SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
