"""Idempotent creation of async media jobs: a ledger in SQLite, so that none is paid for twice."""

import atexit
import hashlib
import hmac
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from rollout_gate.gate import settle_all
from rollout_gate.http import create_records, job_records
from rollout_gate.http.by_path import ByPath
from rollout_gate.http.create_records import Create
from rollout_gate.http.job_records import Job, Key, Known, job_in, key_for, key_of
from rollout_gate.http.shared_database import SharedDatabase, storable, writing
from rollout_gate.http.task_answers import TaskAnswer
from rollout_gate.sqlite_file import is_lock

log = logging.getLogger("rollout_gate")

_T = TypeVar("_T")
_READ_TO = "log_read_to"
_ENDS = ("completed", "failed", "cancelled")

MOST_KEPT = 100_000
"""Limit of the in-memory buffer of jobs while the file cannot be written; evicts the oldest."""

_WAIT_S = 5.0
_WAIT_AGAIN_S = 0.1
_PAUSE_S = 1.0
"""In seconds: the busy timeout for a lock of the file, the busy timeout after a failure, and how
long writes are suspended after a failure (back-off), as all requests share the file."""

MOST_BEGUN = 10_000
"""Limit of the creates in flight that are kept in memory, to store their side with the response."""


class LedgerBusyError(Exception):
    """Another process has kept the database locked beyond the busy timeout; retry later."""


class TaskLedger(SharedDatabase):
    """Records creates by route, org and job id, in a file that several processes may share.

    ``org`` is whom a job is for, so that the same job id of another org is another job.

    A create is recorded before it is sent (write-ahead). The file is a SQLite database in WAL
    mode, so that it can be read while another process has it locked for writing. A new one is open
    to its owner and group alone; the mode of one that is there is never changed. What cannot be
    written is buffered in memory, and flushed as soon as the file can be used again; the logger
    ``rollout_gate`` reports both.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._begun: dict[Key, Job] = {}
        self._unwritten: dict[Key, Job | None] = {}
        self._creates: dict[str, Create | None] = {}
        self._hash_key: tuple[tuple[int, int] | None, bytes] | None = None
        self._spare_key = secrets.token_bytes(32)
        self._failed_at = -inf
        self._failing = False
        self._flusher: threading.Thread | None = None

    def begin(
        self, route: str, job_id: str, side: str, *, org: str = "", create: Create | None = None
    ) -> Job | None:
        """Record that a create is about to be sent; returns the job if there is one already.

        Raises LedgerBusyError where the file exists and a lock prevents reading it.
        """
        sent_at = time.time() if create is None else create.sent_at
        key, job = key_for(route, org, job_id), Job(side, sent_at, None, None, None)
        with self._lock:
            known = self._waiting(key) if key in self._unwritten else self._look(key)
            if known is None:
                known = self._write(
                    {key: job},
                    create,
                    lambda database: job_records.insert(database, key, job, create),
                )
            if known is None:
                self._remember(key, job)
            return known

    def begin_unlike(self, create: Create, within_s: float) -> Known | None:
        """Record a create, unless the same request was sent within so many seconds.

        ``create`` has a fingerprint, and the job id that it is to have; returns the job of the
        earlier one. A job whose task has failed does not count. Raises LedgerBusyError.
        """
        key = key_for(create.route, create.org, create.job_id)
        job, since = Job(create.side, create.sent_at, None, None, None), create.sent_at - within_s
        with self._lock:
            known = self._like(create, since)
            if known is None:
                known = self._look_for_like(create, since)
            if known is None:
                known = self._write(
                    {key: job},
                    create,
                    lambda database: job_records.insert_unlike(database, key, job, create, since),
                )
            if known is None:
                self._remember(key, job)
            return known

    def record(self, create: Create) -> None:
        """Insert or update a create, which may have no job id; never raises."""
        with self._lock:
            self._write({}, create, lambda database: job_records.record(database, create))

    def dropped(self, create_id: str) -> None:
        """Delete a create that has certainly made nothing; never raises."""

        def action(database: sqlite3.Connection) -> None:
            with writing(database):
                create_records.remove(database, create_id)

        with self._lock:
            self._write({}, create_id, action)

    def seen(
        self, task_id: str, side: str | None, answer: TaskAnswer, *, by_application: bool = True
    ) -> None:
        """Update a task by an answer about it; a task that has ended stays as it ended.

        ``side`` is where the answer is from, None where that is not known. What cannot be written
        is lost: the next answer has it again, and so has the access log.
        """
        wanted, at = storable(task_id), time.time()

        def action(database: sqlite3.Connection) -> None:
            with writing(database):
                said = _storable_answer(answer)
                create_records.see(database, wanted, side, said, at, by_application=by_application)

        with self._lock:
            for create_id, create in self._creates.items():
                is_its = side is None or (create is not None and create.side == side)
                if create is not None and create.task_id == wanted and is_its:
                    asked = replace(create, polls=create.polls + by_application)
                    self._creates[create_id] = _seen(asked, answer, at)
            if time.monotonic() - self._failed_at >= _PAUSE_S:
                try:
                    action(self._file())
                except sqlite3.Error as error:
                    self._fail(error)

    def take_in(
        self, creates: Iterable[Create], answers: Iterable[tuple[str, str, TaskAnswer, float]],
        read_to: float,
    ) -> None:  # fmt: skip
        """Add what an access log has of other hosts' tasks, in one transaction.

        ``answers`` are task id, side, answer and when it came; ``read_to`` is how far the log was
        read; both in epoch seconds. Raises sqlite3.Error: the log still has it all.
        """
        with self._lock:
            database = self._file()
            with writing(database):
                for create in creates:
                    create_records.put_missing(database, create)
                for task_id, side, answer, at in answers:
                    create_records.see(
                        database, storable(task_id), side, _storable_answer(answer), at,
                        by_application=True,
                    )  # fmt: skip
                create_records.write_note(database, _READ_TO, repr(read_to).encode())

    def log_read_to(self) -> float:
        """Return how far the access log was read, in epoch seconds; 0 where it never was."""
        with self._lock:
            found = create_records.note_of(self._file(), _READ_TO)
        try:
            return float(found or 0)
        except ValueError:
            return 0.0

    def fingerprint(self, *parts: bytes) -> bytes:
        """Return a keyed hash of a request, 16 bytes.

        The key is in the file, which is made for its owner and group alone (0660, less the umask):
        who may read it can test a guess of a prompt against a hash, and nobody else can. Where the
        file cannot be used the key is one of this process. Raises LedgerBusyError where a lock
        prevents reading it.
        """
        with self._lock:
            try:
                database = self._file()
                if self._hash_key is None or self._hash_key[0] != self._identity:
                    self._hash_key = (self._identity, job_records.hash_key(database))
                key = self._hash_key[1]
            except sqlite3.Error as error:
                self._fail(error)
                if is_lock(error):
                    raise LedgerBusyError from None
                key = self._spare_key
        whole = hmac.new(key, digestmod=hashlib.sha256)
        for part in parts:
            whole.update(b"%d:" % len(part))
            whole.update(part)
        return whole.digest()[:16]

    def created(
        self,
        route: str,
        job_id: str,
        task_id: str | None,
        status: int,
        body: bytes | None,
        *,
        org: str = "",
        create: Create | None = None,
    ) -> None:
        """Record the response to a create, even if the file has lost the record of its begin.

        ``body`` is None for a complete answer that is not kept, as it has the media themselves.
        """
        key = key_for(route, org, job_id)
        with self._lock:
            begun = self._begun.pop(key, None) or self._unwritten.get(key)
            job = begun or Job("", time.time(), None, None, None)
            task_id = None if task_id is None else storable(task_id)
            job = replace(job, task_id=task_id, status=status, body=body, request_ended=True)
            self._write(
                {key: job}, create, lambda database: job_records.update(database, key, job, create)
            )

    def forget(self, route: str, job_id: str, *, org: str = "") -> None:
        """Delete a job: nothing was created for certain, or an operator found that out.

        Its creates that made no known task are deleted with it.
        """
        key = key_for(route, org, job_id)
        with self._lock:
            self._begun.pop(key, None)
            for create_id, create in self._creates.items():
                if create is not None and create.task_id is None and key_of(create) == key:
                    self._creates[create_id] = None
            self._write({key: None}, None, lambda database: job_records.delete(database, key))

    def side_of(self, task_id: str, *, route: str = "", org: str = "") -> str | None:
        """Return the side that a task was created on; None for an unknown task.

        Ids are unique to one provider alone. Where both sides have made a task of this id, it is
        the one of ``route`` and ``org``, and of several the newest.
        """
        wanted = storable(task_id)
        with self._lock:
            made = [
                (job.side, key[0], key[1], job.sent_at)
                for key, job in self._unwritten.items()
                if job is not None and job.task_id == wanted
            ]
            made += [
                (one.side, *key_of(one)[:2], one.sent_at)
                for one in self._creates.values()
                if one is not None and one.task_id is not None and storable(one.task_id) == wanted
            ]
            try:
                made += self._file().execute(job_records.SIDES_OF, {"task": wanted})
            except sqlite3.Error as error:
                self._fail(error)
        return job_records.side_among(made, key_for(route, org, ""))

    def close(self) -> None:
        """Flush the buffered jobs, and close the file; a later call reopens it."""
        with self._lock:
            if self._buffered:
                self._failed_at = -inf
                with suppress(sqlite3.Error):
                    self._file()
            if self._buffered:
                log.error("%d jobs could not be written to %s", self._buffered, self._path)
            self._drop()

    @property
    def _buffered(self) -> int:
        """How many changes wait for the file."""
        return max(len(self._unwritten), len(self._creates))

    def _remember(self, key: Key, job: Job) -> None:
        self._begun[key] = job
        if len(self._begun) > MOST_BEGUN:
            del self._begun[next(iter(self._begun))]

    def _like(self, create: Create, since: float) -> Known | None:
        """Return the job of the same request among those that are not written yet."""
        for one in reversed(self._creates.values()):
            if one is None or one.fingerprint != create.fingerprint or one.sent_at < since:
                continue
            if (one.route, one.org) == (create.route, create.org) and one.answers_again:
                job = self._waiting(key_of(one)) or job_records.job_of(one)
                return Known(one.job_id, job)
        return None

    def _waiting(self, key: Key) -> Job | None:
        """Return a job that is not written yet."""
        job = self._unwritten.get(key)
        if job is None:
            return None
        waiting = (one for one in self._creates.values() if one is not None)
        same = [one for one in waiting if one.sent_at == job.sent_at and key_of(one) == key]
        if any(one.state in ("failed", "cancelled") for one in same):
            return None  # it may be repeated
        ended = job.request_ended or any(one.request_ended for one in same)
        return replace(job, request_ended=ended)

    def _look_for_like(self, create: Create, since: float) -> Known | None:
        try:
            return job_records.known_like(self._file(), create, since)
        except sqlite3.Error as error:
            self._fail(error)
            if is_lock(error):
                raise LedgerBusyError from None
            return None

    def _look(self, key: Key) -> Job | None:
        try:
            database = self._file()
            row = database.execute(job_records.WANTED, key).fetchone()
            job = job_in(row) if row else None
            is_old = job is not None and job_records.is_expired(database, job, time.time())
        except sqlite3.Error as error:
            self._fail(error)
            if is_lock(error):
                raise LedgerBusyError from None
            return None
        return None if is_old else job

    def _write(
        self,
        jobs: dict[Key, Job | None],
        create: Create | str | None,
        action: Callable[[sqlite3.Connection], _T],
    ) -> _T | None:
        """Change the file, or buffer the change until it can be; return what the action returns.

        ``create`` is one to insert or update, or the id of one to delete.
        """
        if time.monotonic() - self._failed_at >= _PAUSE_S:
            try:
                database = self._file()
                if not self._buffered:  # else what waits, and is older, would be written over it
                    return action(database)
            except sqlite3.Error as error:
                self._fail(error)
        self._unwritten.update(jobs)
        if isinstance(create, Create):
            self._creates[create.create_id] = create
        elif create is not None:
            self._creates[create] = None
        for buffer in (self._unwritten, self._creates):
            if len(buffer) > MOST_KEPT:
                del buffer[next(iter(buffer))]  # type: ignore[arg-type]
        if self._flusher is None or not self._flusher.is_alive():  # nor is it in a forked child
            self._flusher = threading.Thread(target=self._flush, name="rollout-jobs", daemon=True)
            with suppress(RuntimeError):  # the interpreter is ending: the exit handler writes
                self._flusher.start()
        return None

    def _flush(self) -> None:
        """Write what is buffered as soon as the file can be used: no other request may come."""
        while True:
            time.sleep(_PAUSE_S)
            with self._lock:
                if self._buffered:
                    try:
                        self._file()
                    except sqlite3.Error as error:
                        self._fail(error)
                if not self._buffered:
                    self._flusher = None
                    return

    def _file(self) -> sqlite3.Connection:
        """Open the file if it is not open, and flush the buffered jobs.

        Raises sqlite3.Error where it cannot be opened.
        """
        database = self._open()
        if not self._buffered and self._failing:
            log.info("%s is usable again; all buffered jobs were written", self._path)
            self._failing = False
            database.execute(f"pragma busy_timeout = {int(_WAIT_S * 1000)}")
        elif self._buffered and time.monotonic() - self._failed_at >= _PAUSE_S:
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
                    job_records.remove(database, key)
                elif (other := job_records.put(database, key, job)) is not None:
                    log.error(
                        "job %s of route %s was created twice while %s could not be used:"
                        " on %s as task %s, and on %s as task %s",
                        *(key[2], key[0], self._path),
                        *(other.side, other.task_id, job.side, job.task_id),
                    )
            for create_id, create in self._creates.items():
                if create is None:
                    create_records.remove(database, create_id)
                else:
                    create_records.put(database, create)
        self._unwritten.clear()
        self._creates.clear()

    def _fail(self, error: Exception) -> None:
        """Record that the file cannot be used, and drop the connection to reopen it next time."""
        if not self._failing and self._is_closed():
            log.error(
                "%s is closed to this user by its mode: jobs that others made are not known here,"
                " and would be made again; share it by a group (umask 007, chmod g+s its folder)",
                self._path,
            )
        elif not self._failing:
            log.warning(
                "%s cannot be used (%s); jobs are buffered in memory until it can be",
                self._path,
                error,
            )
        self._failing = True
        self._failed_at = time.monotonic()
        self._drop()

    def _is_closed(self) -> bool:
        """Return whether there is a file that this user may not read and write."""
        return os.access(self._path, os.F_OK) and not os.access(self._path, os.R_OK | os.W_OK)

    def _connect(self) -> sqlite3.Connection:
        return job_records.connected(self._path, _WAIT_AGAIN_S if self._failing else _WAIT_S)


def ledger_at(path: str | Path) -> TaskLedger:
    """Return the ledger of a file that all clients of this process share.

    They also share its in-memory buffer while the file cannot be used.
    """
    return _ledgers.get(path)


_ledgers = ByPath(TaskLedger)


def close_all() -> None:
    """Write what is buffered in any ledger, at the end of the process, and what is to be."""
    settle_all()  # exit handlers run in reverse order of their registration, this one before it
    for ledger in _ledgers.in_use():
        ledger.close()


atexit.register(close_all)


def _seen(create: Create, answer: TaskAnswer, at: float) -> Create:
    """Return a create that waits to be written, as an answer about its task leaves it."""
    if create.is_over:
        return create
    ended = at if answer.state in _ENDS else None
    return replace(
        create, state=answer.state or create.state, progress=answer.progress or create.progress,
        error=answer.error or create.error, seen_at=at, ended_at=ended,
        billing_transaction_id=answer.billing_transaction_id or create.billing_transaction_id,
    )  # fmt: skip


def _storable_answer(answer: TaskAnswer) -> TaskAnswer:
    texts = {
        name: storable(value)
        for name in ("poll_url", "error", "billing_transaction_id")
        if (value := getattr(answer, name)) is not None
    }
    return replace(answer, **texts)
