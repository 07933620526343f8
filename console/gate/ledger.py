"""Which async media jobs were created, so that none is created and paid twice."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from console.gate.locked import Locked

log = logging.getLogger("console.gate")

_T = TypeVar("_T")

KEPT_S = 14 * 86_400
"""How long a job is remembered, in seconds."""
_WAIT_S = 5.0
_SCHEMA = """
create table if not exists jobs (
  job_id text not null, route text not null, side text not null, sent_at real not null,
  task_id text, status integer, body blob, primary key (route, job_id)
) without rowid
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A create that was sent; ``body`` is the answer to it, and None while that is not known."""

    side: str
    sent_at: float
    task_id: str | None
    status: int | None
    body: bytes | None


class TaskLedger(Locked):
    """Remembers creates by route and job id, in a file that several processes may share.

    A create is written down before it is sent. Where the file cannot be used, what this process
    sent is still remembered in memory, and the log says so once.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()

    def begin(self, route: str, job_id: str, side: str) -> Job | None:
        """Write down that a create is about to be sent; return the job if there is one already."""

        def look_and_write(database: sqlite3.Connection) -> Job | None:
            database.execute("begin immediate")
            row = database.execute(
                "select side, sent_at, task_id, status, body from jobs"
                " where route = ? and job_id = ?",
                (route, job_id),
            ).fetchone()
            if row is not None:
                return Job(*row)
            now = time.time()
            database.execute("delete from jobs where sent_at < ?", (now - KEPT_S,))
            database.execute(
                "insert into jobs (job_id, route, side, sent_at) values (?, ?, ?, ?)",
                (job_id, route, side, now),
            )
            return None

        return self._do(look_and_write)

    def created(
        self, route: str, job_id: str, task_id: str | None, status: int, body: bytes
    ) -> None:
        """Keep the answer to a create."""
        self._run(
            "update jobs set task_id = ?, status = ?, body = ? where route = ? and job_id = ?",
            (task_id, status, body, route, job_id),
        )

    def forget(self, route: str, job_id: str) -> None:
        """Forget a job: it is certain that nothing was created, or a person found that out."""
        self._run("delete from jobs where route = ? and job_id = ?", (route, job_id))

    def side_of(self, task_id: str) -> str | None:
        """Return the side that a task was created on; None for one that is not known."""
        rows = self._run("select side from jobs where task_id = ?", (task_id,))
        return str(rows[0][0]) if rows else None

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            self._drop()

    def _run(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        return self._do(lambda database: database.execute(statement, values).fetchall())

    def _do(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do it in the file, or in memory where that cannot be."""
        with self._lock:
            try:
                database = self._open()
                with database:
                    return action(database)
            except sqlite3.Error as error:
                log.warning(
                    "%s cannot be used (%s); jobs are remembered until this process ends",
                    self._path,
                    error,
                )
            self._drop()
            self._connection = database = _connect(":memory:")
            with database:
                return action(database)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid != os.getpid():
            self._connection = None  # a connection must not be used on the other side of a fork
        if self._connection is None:
            self._pid = os.getpid()
            self._connection = _connect(str(self._path))
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None
    )
    try:
        connection.execute("pragma synchronous = full")
        connection.execute(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
