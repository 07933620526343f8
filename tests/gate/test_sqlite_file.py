"""Whoever makes a database at the moment another makes it waits for the other."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from rollout_console.history.schema import open_to_write
from rollout_console.reconcile.store import UsageStore
from rollout_gate import sqlite_file
from rollout_gate.http.id_file import IdWriter
from rollout_gate.http.job_ledger import TaskLedger
from rollout_gate.sqlite_file import use_wal


def _ledger(path: Path) -> None:
    ledger = TaskLedger(path)
    assert ledger.begin("video", "job-1", "tokenlab") is None
    ledger.close()
    assert TaskLedger(path).begin("video", "job-1", "tokenlab") is not None


def _ids(path: Path) -> None:
    writer = IdWriter(path)
    writer.write({})
    writer.close()


def _usage(path: Path) -> None:
    with UsageStore(path) as store:
        store.keep_keys([])


MAKERS: dict[str, Callable[[Path], None]] = {
    "ledger": _ledger,
    "ids": _ids,
    "usage": _usage,
    "history": lambda path: open_to_write(path).close(),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_switch_waits_for_another_that_makes_the_file(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, waits = tmp_path / "made.sqlite3", []
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        other.execute("rollback")
        other.close()

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(sqlite_file, "time", clock)
    make(path)
    assert len(waits) == 1
    with sqlite3.connect(path) as made:
        assert made.execute("pragma journal_mode").fetchone() == ("wal",)
    made.close()


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "made.sqlite3"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    database = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        use_wal(database, 0.02)
    for one in (database, other):
        one.close()
