"""Several log files that a glob pattern names, followed as one log."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from rollout_console.health.log import follower as follow
from rollout_console.health.log import multi_file as log_set
from rollout_console.health.log.follower import LogFollower
from rollout_console.health.log.multi_file import LogSet, open_log
from rollout_console.health.log.probe_log import probe_log_path
from rollout_gate.file.model import RolloutFile
from tests.health.test_rotation import append, lines, numbers, rotate
from tests.support.unprivileged import as_nobody, folder_of_nobody


def test_several_files_are_one_log(tmp_path: Path) -> None:
    log = open_log(tmp_path / "*.jsonl", start="tail", tail_bytes=1 << 20)
    assert log.poll() == []
    assert "it begins with the first request" in log.trouble
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_bytes(lines(1, 4))
    two.write_bytes(lines(2, 3) + b"bad\n")
    (tmp_path / "access.probes.jsonl").write_bytes(lines(99))
    (tmp_path / "folder.jsonl").mkdir()
    assert numbers(log) == [1, 2, 3, 4]
    assert (log.trouble, log.unusable.lines) == ("", 1)
    append(one, lines(5))
    rotate(one)
    one.write_bytes(lines(6))
    (tmp_path / "three.jsonl").write_bytes(lines(7))
    assert numbers(log) == [5, 6, 7]
    two.unlink()
    append(one, lines(8))
    assert numbers(log) == [8]
    assert log.trouble == ""
    assert log.unusable.lines == 1


def test_probes_of_several_files_are_logged_where_no_pattern_finds_them(tmp_path: Path) -> None:
    file = RolloutFile("r", access_log="logs/*.jsonl")
    assert probe_log_path(tmp_path / "rollout.toml", file) == (
        tmp_path / "logs" / "access.probes.jsonl"
    )
    file = RolloutFile("r", access_log="logs/a.jsonl")
    assert probe_log_path(tmp_path / "rollout.toml", file).name == "a.probes.jsonl"


def test_rotated_files_that_match_too_are_no_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1))
    log = open_log(tmp_path / "a*", start="tail", tail_bytes=1 << 20)
    assert numbers(log) == [1]
    rotate(path)  # for a moment there is no other
    append(tmp_path / "a.jsonl.1", lines(2))
    assert numbers(log) == [2]
    path.write_bytes(lines(3))
    assert numbers(log) == [3]
    rotate(path)
    path.write_bytes(lines(4))
    assert sorted(numbers(log)) == [4]
    path.rename(tmp_path / "another")
    append(tmp_path / "another", lines(5))
    path.write_bytes(lines(6))
    assert sorted(numbers(log)) == [5, 6]


def test_files_that_are_gone_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogSet(tmp_path / "*.jsonl")
    for n in range(3):
        (tmp_path / f"{n}.jsonl").write_bytes(lines(n) + b"bad\n")
    assert numbers(log) == [0, 1, 2]
    (tmp_path / "0.jsonl").unlink()
    log.poll()
    assert len(log._followers) == 3
    later = time.monotonic() + follow.LINGER_S + 1
    monkeypatch.setattr(log_set, "time", SimpleNamespace(monotonic=lambda: later))
    log.poll()
    assert len(log._followers) == 2
    assert log.unusable.lines == 3


def test_only_so_many_files_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_set, "MOST_FILES", 3)
    for n in range(5):
        (tmp_path / f"{n}.jsonl").write_bytes(lines(n))
        os.utime(tmp_path / f"{n}.jsonl", (n, n))
    log = LogSet(tmp_path / "*.jsonl")
    assert numbers(log) == [2, 3, 4]
    assert log.trouble.startswith("5 files match")


def test_a_name_with_a_star_that_is_there_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].jsonl"
    path.write_bytes(lines(1))
    assert isinstance(open_log(path, start="head", tail_bytes=1), LogFollower)


def close_folder(folder: Path) -> None:
    folder.chmod(0)


def hide_names(folder: Path) -> None:
    folder.chmod(0o300)


def close_files(folder: Path) -> None:
    folder.chmod(0o600)


@pytest.mark.parametrize("close", [close_folder, hide_names, close_files])
def test_a_folder_that_is_closed_is_not_taken_for_an_empty_one(
    close: Callable[[Path], None],
) -> None:
    with folder_of_nobody() as folder:

        def work() -> None:
            (folder / "one.jsonl").write_bytes(lines(1))
            log = LogSet(folder / "*.jsonl")
            close(folder)
            assert numbers(log) == []
            assert "cannot be read: Permission denied; trying again" in log.trouble
            assert (log.missing, log.unreadable, log.is_partial) == (False, True, False)
            folder.chmod(0o700)
            assert numbers(log) == [1]
            assert (log.trouble, log.missing, log.unreadable) == ("", False, False)

        as_nobody(work)


def test_files_of_a_folder_that_was_closed_for_long_are_not_read_twice() -> None:
    with folder_of_nobody() as folder, pytest.MonkeyPatch.context() as patch:

        def work() -> None:
            path, now = folder / "one.jsonl", [time.monotonic()]
            patch.setattr(log_set, "time", SimpleNamespace(monotonic=lambda: now[-1]))
            path.write_bytes(lines(1))
            log = LogSet(folder / "*.jsonl")
            assert numbers(log) == [1]
            folder.chmod(0)
            for _ in range(3):
                assert numbers(log) == []
                now.append(now[-1] + follow.LINGER_S)
            folder.chmod(0o700)
            append(path, lines(2))
            assert numbers(log) == [2]

        as_nobody(work)


def test_one_of_several_that_cannot_be_read_is_told_beside_what_is_read() -> None:
    with folder_of_nobody() as folder:

        def work() -> None:
            (folder / "one.jsonl").write_bytes(lines(1))
            closed = folder / "two.jsonl"
            closed.write_bytes(lines(2))
            closed.chmod(0)
            log = LogSet(folder / "*.jsonl")
            assert numbers(log) == [1]
            assert log.trouble == f"{closed} cannot be read: Permission denied; trying again"
            assert (log.unreadable, log.is_partial) == (True, True)
            closed.chmod(0o600)
            assert numbers(log) == [2]
            assert (log.unreadable, log.is_partial) == (False, False)

        as_nobody(work)
