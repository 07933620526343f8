"""Each line of several logs is read once, by whatever name copies and links of them are found."""

import os
import random
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rollout_console.health.log import follower as follow
from rollout_console.health.log import multi_file as log_set
from rollout_console.health.log.multi_file import LogSet, open_log
from tests.health.test_rotation import append, lines, numbers

NAMES = ["a-20261201.jsonl", "a.1.jsonl", "a.jsonl.1", "a.jsonl-20261201"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [(pattern, name) for pattern in ("*.jsonl", "*") for name in (*NAMES, "b.jsonl")]
    + [("a.jsonl", name) for name in NAMES],
)
def test_a_copy_before_a_truncation_is_no_log_of_its_own(
    tmp_path: Path, pattern: str, name: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*range(20)))
    log = open_log(tmp_path / pattern, start="tail", tail_bytes=1 << 20)
    assert numbers(log) == [*range(20)]
    append(path, lines(20, 21))
    shutil.copy(path, tmp_path / name)  # logrotate's copytruncate
    os.truncate(path, 0)
    append(path, lines(22))
    assert sorted([*numbers(log), *numbers(log)]) == [20, 21, 22]
    append(path, lines(23))
    assert [*numbers(log), *numbers(log)] == [23]
    path.unlink()
    assert [*numbers(log), *numbers(log)] == []


def test_a_copy_that_was_read_is_known_when_its_log_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1, 2))
    log = LogSet(tmp_path / "*.jsonl")
    assert numbers(log) == [1, 2]
    shutil.copy(path, tmp_path / "a-1.jsonl")
    os.truncate(path, 0)
    append(path, lines(3))
    assert [*numbers(log), *numbers(log)] == [3]
    path.unlink()
    log.poll()
    later = time.monotonic() + follow.LINGER_S + 1
    monkeypatch.setattr(log_set, "time", SimpleNamespace(monotonic=lambda: later))
    log.poll()
    assert not log._followers
    assert [*numbers(log), *numbers(log)] == []


def test_logs_with_the_same_heading_are_no_copies(tmp_path: Path) -> None:
    heading = b"# access log of the gate, one request a line\n"
    log = LogSet(tmp_path / "*.jsonl")
    idle, first = tmp_path / "idle.jsonl", tmp_path / "1.jsonl"
    idle.write_bytes(heading)
    first.write_bytes(heading + lines(1))
    assert numbers(log) == [1]
    for n in (2, 3):
        (tmp_path / f"{n}.jsonl").write_bytes(heading + lines(n))
    assert sorted(numbers(log)) == [2, 3]
    append(idle, lines(4))
    append(first, lines(5))
    assert sorted(numbers(log)) == [4, 5]


def test_a_link_to_a_log_is_the_same_log(tmp_path: Path) -> None:
    first, second = tmp_path / "app-1.jsonl", tmp_path / "app-2.jsonl"
    current = tmp_path / "a-current.jsonl"  # sorts before what it is a link to
    first.write_bytes(lines(1, 2))
    current.symlink_to(first.name)
    log = open_log(tmp_path / "*.jsonl", start="tail", tail_bytes=1 << 20)
    assert numbers(log) == [1, 2]
    append(current, lines(3))
    assert numbers(log) == [3]
    second.write_bytes(lines(4))
    current.unlink()
    current.symlink_to(second.name)
    append(first, lines(5))
    append(current, lines(6))
    assert sorted([*numbers(log), *numbers(log)]) == [4, 5, 6]


def test_a_link_to_a_log_elsewhere_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / "x"
    real.write_bytes(lines(1))
    (tmp_path / "a.jsonl").symlink_to(real)
    log = open_log(tmp_path / "*.jsonl", start="tail", tail_bytes=1 << 20)
    assert numbers(log) == [1]
    append(real, lines(2))
    assert numbers(log) == [2]


def test_a_backup_is_not_counted_and_goes_on_where_its_log_was_left(tmp_path: Path) -> None:
    path, backup = tmp_path / "a.jsonl", tmp_path / "a-backup.jsonl"
    path.write_bytes(lines(1, 2))
    shutil.copy(path, backup)
    log = open_log(tmp_path / "*.jsonl", start="tail", tail_bytes=1 << 20)
    assert numbers(log) == [1, 2]
    append(path, lines(3))
    assert numbers(log) == [3]
    append(backup, lines(3, 4))  # a writer that goes on in the copy, as after a move
    path.unlink()
    assert [*numbers(log), *numbers(log)] == [4]


def test_a_log_that_comes_back_is_read_from_where_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more writers than are followed at once, one is idle for a minute."""
    monkeypatch.setattr(log_set, "MOST_FILES", 3)
    idle, now = tmp_path / "idle.jsonl", time.time()
    idle.write_bytes(lines(1, 2) + lines(3)[:9])
    log = LogSet(tmp_path / "*.jsonl")
    assert numbers(log) == [1, 2]
    os.utime(idle, (now - 60, now - 60))
    for n in range(10, 13):
        (tmp_path / f"{n}.jsonl").write_bytes(lines(n))
    assert sorted(numbers(log)) == [10, 11, 12]
    later = time.monotonic() + follow.LINGER_S + 1
    with monkeypatch.context() as patch:
        patch.setattr(log_set, "time", SimpleNamespace(monotonic=lambda: later))
        assert numbers(log) == []
    assert idle not in log._followers
    append(idle, lines(3)[9:] + lines(4))
    assert numbers(log) == [3, 4]


@pytest.mark.parametrize("seed", range(60))
def test_every_line_is_read_once_whatever_rotates(tmp_path: Path, seed: int) -> None:
    """Writers append, logs are rotated by names of each kind, links move, and one looks now and
    then: at the least once at what a log has before it is rotated, and once after that."""
    chance = random.Random(seed)
    log = LogSet(tmp_path / "*.jsonl")
    written, read, rotations = 0, list[int](), 0
    for step in range(40):
        path = tmp_path / f"{chance.choice('abc')}.jsonl"
        what = chance.random()
        if what < 0.6 or not path.exists():
            count = chance.randrange(1, 4)
            append(path, lines(*range(written, written + count)))
            written += count
        elif what < 0.75:
            append(path, lines(written))
            read += numbers(log)
            append(path, lines(written + 1))
            written, rotations = written + 2, rotations + 1
            kind = chance.choice(
                ["{0}-{1}.jsonl", "{0}.{1}.jsonl", "{0}.jsonl-{1}", "{0}.jsonl.{1}"]
            )
            to = tmp_path / kind.format(path.stem, 20_260_000 + rotations)
            if chance.random() < 0.5:
                shutil.copy(path, to)
                os.truncate(path, 0)
            else:
                path.rename(to)
            read += numbers(log)
        elif what < 0.8:
            link = tmp_path / "current.jsonl"
            link.unlink(missing_ok=True)
            link.symlink_to(path.name)
        if chance.random() < 0.5 or step == 39:
            read += numbers(log)
    read += numbers(log)
    assert sorted(read) == [*range(written)]
