"""The file of the ledger: its mode, its schema, and what replaces, closes or damages it."""

import os
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rollout_gate.http import job_records
from rollout_gate.http.job_ledger import TaskLedger
from tests.gate.http.ledgers import rows, write_without_orgs


def test_a_ledger_that_cannot_be_written_still_knows_this_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = TaskLedger(tmp_path / "gone" / "jobs.sqlite3")
    assert ledger.begin("video", "job-1", "tokenlab") is None
    ledger.created("video", "job-1", "task_1", 200, b"{}")
    found = ledger.begin("video", "job-1", "previous")
    assert found is not None
    assert (found.side, found.task_id, found.body) == ("tokenlab", "task_1", b"{}")
    assert ledger.side_of("task_1") == "tokenlab"
    assert len([one for one in caplog.records if "cannot be used" in one.getMessage()]) == 1
    ledger.close()


def test_a_ledger_that_its_mode_closes_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(b"not to be read" * 100)
    monkeypatch.setattr("os.access", lambda _path, mode: mode == os.F_OK)  # tests may be root's
    TaskLedger(path).begin("clips", "j1", "tokenlab")
    (said,) = [one for one in caplog.records if "jobs.sqlite3" in one.getMessage()]
    assert said.levelname == "ERROR"
    assert "is closed to this user by its mode" in said.getMessage()


def test_both_sides_of_a_fork_share_the_file(tmp_path: Path) -> None:
    ledger = TaskLedger(tmp_path / "jobs.sqlite3")
    ledger.begin("video", "before", "tokenlab")
    child = os.fork()
    if child == 0:
        known = ledger.begin("video", "before", "previous")
        ledger.begin("video", "in-child", "previous")
        os._exit(0 if known is not None and known.side == "tokenlab" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ledger.begin("video", "in-child", "tokenlab") is not None
    ledger.close()


def test_a_file_that_is_deleted_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    ledger = TaskLedger(path)
    ledger.begin("video", "job-1", "tokenlab")
    for one in tmp_path.iterdir():
        one.unlink()
    ledger.begin("video", "job-2", "tokenlab")
    ledger.close()
    assert rows(path) == [("job-2", None)]


@pytest.mark.parametrize("times", [1, 5])
def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    path = tmp_path / "jobs.sqlite3"
    replaced: list[Path] = []
    really = job_records.connected

    def connect(place: Path, wait_s: float) -> sqlite3.Connection:
        """The file is deleted, and another process makes it again, right after it was opened."""
        connection = really(place, wait_s)
        if len(replaced) < times:
            for one in tmp_path.iterdir():
                one.unlink()
            really(place, wait_s).close()
            replaced.append(place)
        return connection

    monkeypatch.setattr(job_records, "connected", connect)
    really(path, 1.0).close()
    ledger = TaskLedger(path)
    for number in range(4):
        ledger.begin("video", f"job-{number}", "tokenlab")
    assert "job-3" in [job for job, _ in rows(path)]
    if times == 1:
        assert len(rows(path)) == 4, "nothing was written to the deleted file"
    ledger.close()


def test_a_file_that_is_no_ledger_is_told_and_jobs_are_known_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(b"garbage " * 1000)
    ledger = TaskLedger(path)
    assert ledger.begin("video", "job-1", "tokenlab") is None
    assert ledger.begin("video", "job-1", "tokenlab") is not None
    ledger.forget("video", "job-1")
    assert ledger.begin("video", "job-1", "tokenlab") is None
    ledger.close()
    assert path.read_bytes().startswith(b"garbage")
    assert "1 jobs could not be written" in caplog.text


def test_a_ledger_stays_where_it_was_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = TaskLedger("jobs.sqlite3")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ledger.begin("video", "job-1", "tokenlab")
    ledger.close()
    assert rows(tmp_path / "jobs.sqlite3") == [("job-1", None)]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o640), (0o007, 0o660), (0o077, 0o600)])
def test_a_new_ledger_is_closed_to_others_as_it_has_the_key_of_its_hashes(
    tmp_path: Path, umask: int, mode: int
) -> None:
    ledger, before = TaskLedger(tmp_path / "jobs.sqlite3"), os.umask(umask)
    try:
        ledger.begin("video", "job-1", "tokenlab")
        modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
    finally:
        os.umask(before)
        ledger.close()
    assert modes == {f"jobs.sqlite3{end}": mode for end in ("", "-wal", "-shm")}


def test_the_target_of_a_symbolic_link_is_closed_to_others_as_well(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite3").symlink_to("elsewhere.sqlite3")
    ledger = TaskLedger(tmp_path / "jobs.sqlite3")
    ledger.begin("video", "job-1", "tokenlab")
    ledger.close()
    assert (tmp_path / "elsewhere.sqlite3").stat().st_mode & 0o007 == 0
    assert rows(tmp_path / "elsewhere.sqlite3") == [("job-1", None)]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_the_mode_of_a_ledger_that_is_there_stays(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "jobs.sqlite3"
    path.touch()
    path.chmod(mode)
    ledger = TaskLedger(path)
    ledger.begin("video", "job-1", "tokenlab")
    ledger.close()
    assert path.stat().st_mode & 0o777 == mode
    assert rows(path) == [("job-1", None)]


def test_two_workers_that_migrate_a_ledger_at_once_give_no_job_to_another_org(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, looked = tmp_path / "jobs.sqlite3", []
    write_without_orgs(path)
    really = job_records._has_no_org

    def look(database: sqlite3.Connection) -> bool:
        """The other worker migrates the file right after this one has first looked at it."""
        found = really(database)
        looked.append(found)
        if len(looked) == 1:
            other = TaskLedger(path)
            assert other.begin("video", "job-2", "tokenlab", org="globex") is None
            other.created("video", "job-2", "task_2", 200, b"{}", org="globex")
            other.close()
        return found

    monkeypatch.setattr(job_records, "_has_no_org", look)
    ledger = TaskLedger(path)
    assert ledger.begin("video", "job-2", "tokenlab", org="acme") is None
    for org in ("acme", "globex"):
        known = ledger.begin("video", "job-1", "previous", org=org)
        assert known is not None, "a job of before is of any org"
        assert known.task_id == "task_1"
    ledger.close()
    assert looked[0], "it was old when it was first looked at"
    with sqlite3.connect(path) as database:
        found = database.execute("select job_id, org from jobs order by job_id, org").fetchall()
        names = {name for (name,) in database.execute("select name from sqlite_master")}
    database.close()
    assert found == [("job-1", "\0"), ("job-2", "acme"), ("job-2", "globex")]
    assert {"jobs_by_task", "jobs_by_time"} <= names
    assert "jobs_without_org" not in names


def test_a_clock_that_is_set_ahead_for_a_moment_makes_no_job_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, now = TaskLedger(tmp_path / "jobs.sqlite3"), time.time()
    ledger.begin("video", "job-1", "tokenlab")
    clock = SimpleNamespace(time=lambda: now + 20 * 86_400, monotonic=time.monotonic)
    monkeypatch.setattr("rollout_gate.http.job_ledger.time", clock)
    ledger.begin("video", "job-2", "tokenlab")
    clock.time = time.time
    assert ledger.begin("video", "job-1", "tokenlab") is not None
    clock.time = lambda: now + 20 * 86_400 + 60
    ledger.begin("video", "job-3", "tokenlab")
    assert ledger.begin("video", "job-1", "tokenlab") is None, "when it really is, they are"
    ledger.close()


DAY = 86_400


def test_a_clock_that_is_set_ahead_deletes_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, now = TaskLedger(tmp_path / "jobs.sqlite3"), time.time()
    clock = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("rollout_gate.http.job_ledger.time", clock)
    ledger.begin("video", "job-1", "tokenlab")
    ledger.begin("video", "job-2", "tokenlab")
    for ahead in (15 * DAY, 400 * DAY):
        for at in range(5):
            clock.time = lambda at=at, ahead=ahead: now + ahead + 3_600 * at
            ledger.begin("video", f"of-{ahead}-{at}", "tokenlab")
        clock.time = lambda: now + 60
        for job in ("job-1", "job-2"):
            assert ledger.begin("video", job, "tokenlab") is not None
        assert ledger.begin("video", f"after-{ahead}", "tokenlab") is None
    ledger.close()


def test_what_is_older_than_its_retention_is_deleted_a_day_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "jobs.sqlite3", time.time()
    ledger = TaskLedger(path)
    clock = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("rollout_gate.http.job_ledger.time", clock)
    left = []
    for day in range(18):
        clock.time = lambda day=day: now + day * DAY * 0.99
        assert ledger.begin("video", f"job-{day}", "tokenlab") is None
        left.append(len(rows(path)))
    assert max(left) <= 17
    assert left[-1] < 18
    assert ("job-0", None) not in rows(path)
    assert ledger.begin("video", "job-17", "tokenlab") is not None
    ledger.close()
