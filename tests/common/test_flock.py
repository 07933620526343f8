"""Locks by flock(2): waited for, given up, and done without where there are none."""

import fcntl
import threading
from pathlib import Path

import pytest

from rollout_console.common.flock import best_effort_lock, locked_folder


def test_two_never_have_a_lock(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with locked_folder(folder, 0), pytest.raises(TimeoutError), locked_folder(folder, 0):
        pytest.fail("two had the lock")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, waits, order = threading.Event(), threading.Event(), list[str]()
    monkeypatch.setattr("rollout_console.common.flock.time.sleep", lambda _s: waits.set())

    def hold() -> None:
        with locked_folder(tmp_path, 60):
            taken.set()
            waits.wait(60)
            order.append("first")

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)
    with locked_folder(tmp_path, 60):
        order.append("second")
    holder.join()
    assert order == ["first", "second"]


def test_a_cache_is_written_without_a_lock_that_cannot_be_had(tmp_path: Path) -> None:
    done = []
    with locked_folder(tmp_path, 0), best_effort_lock(tmp_path, 0):
        done.append("while another has it")
    (tmp_path / "file").touch()
    with best_effort_lock(tmp_path / "file", 0):
        done.append("where there is no folder")
    assert len(done) == 2


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    done = []
    with locked_folder(tmp_path, 0):
        done.append("the block")
    assert done == ["the block"]
