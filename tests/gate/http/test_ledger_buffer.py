"""What the job ledger buffers while its file is locked is written once it can be, in its order."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rollout_gate.http.create_records import Create
from rollout_gate.http.job_ledger import TaskLedger
from tests.support.waiting import until


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger's file, whose lock is waited for as briefly as the file is tried again."""
    for name in ("_WAIT_S", "_PAUSE_S"):
        monkeypatch.setattr(f"rollout_gate.http.job_ledger.{name}", 0.05)
    found = tmp_path / "jobs.sqlite3"
    TaskLedger(found).log_read_to()
    return found


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process that has the ledger open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield database


def rows_of(path: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as database:
        return (
            database.execute("select job_id, task_id, status from jobs").fetchall(),
            database.execute("select state, task_id from creates").fetchall(),
        )


def a_create(**more: Any) -> Create:
    return Create(
        create_id="c1", route="video", org="acme", side="tokenlab", sent_at=time.time(),
        job_id="j1", **more,
    )  # fmt: skip


def begun(path: Path) -> TaskLedger:
    ledger = TaskLedger(path)
    ledger.begin("video", "j1", "tokenlab", org="acme", create=a_create())
    return ledger


def test_what_is_buffered_is_written_by_itself(path: Path, other: sqlite3.Connection) -> None:
    """No other request may come, and another process would make the job again."""
    other.execute("begin immediate")
    ledger = begun(path)
    made = a_create(task_id="task-9")
    ledger.created("video", "j1", "task-9", 200, b"{}", org="acme", create=made)
    assert rows_of(path) == ([], [])
    other.execute("rollback")
    until(lambda: rows_of(path)[0] == [("j1", "task-9", 200)])
    until(lambda: ledger._flusher is None)


def test_an_older_state_is_not_written_over_a_newer(
    path: Path, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer lets go between the failed write of what is buffered and the new one."""
    monkeypatch.setattr("rollout_gate.http.job_ledger._PAUSE_S", 0.0)
    monkeypatch.setattr(TaskLedger, "_flush", lambda _self: None)
    other.execute("begin immediate")
    ledger = begun(path)
    catch_up = TaskLedger._catch_up

    def fails_once(self: TaskLedger, database: sqlite3.Connection) -> None:
        if other.in_transaction:
            other.execute("rollback")
            raise sqlite3.OperationalError("database is locked")
        catch_up(self, database)

    monkeypatch.setattr(TaskLedger, "_catch_up", fails_once)
    made = a_create(task_id="task-9", state="open", status=200)
    ledger.created("video", "j1", "task-9", 200, b"{}", org="acme", create=made)
    assert ledger.side_of("task-9") == "tokenlab"
    ledger.close()
    assert rows_of(path) == ([("j1", "task-9", 200)], [("open", "task-9")])


def test_a_refusal_that_was_buffered_deletes_the_create_too(
    path: Path, other: sqlite3.Connection
) -> None:
    ledger = begun(path)
    assert rows_of(path)[1] == [("unknown", None)]
    other.execute("begin immediate")
    ledger.forget("video", "j1", org="acme")
    other.execute("rollback")
    until(lambda: rows_of(path) == ([], []))
    ledger.close()
