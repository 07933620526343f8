"""A long log: its newest part is read at once, what is older beside it."""

import gzip
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout_console.changes.recorded import Recorded
from rollout_console.guard.monitor import Monitor
from rollout_console.health.backfill.reader import Backfill, Part
from rollout_gate.file.parse import parse

NOW = float(int(time.time()))
COUNT = 4000
SPAN_S = 40_000


def line(at: float, org: str) -> str:
    ts = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'{{"ts":"{ts}","route":"chat","org":"{org}","side":"tokenlab",'
        f'"status":200,"latency_ms":100.0}}\n'
    )


def write(path: Path, orgs: Iterator[str]) -> None:
    """A line each ten seconds; the older half is of one org, the newer of another."""
    step = SPAN_S / COUNT
    path.write_text("".join(line(NOW - SPAN_S + i * step, next(orgs)) for i in range(1, COUNT + 1)))


def halves(first: str, second: str) -> Iterator[str]:
    yield from [first] * (COUNT // 2)
    yield from [second] * (COUNT // 2)


@pytest.fixture
def log(file: Path) -> Path:
    path = file.parent / "access.jsonl"
    write(path, halves("gone.eu", "acme"))
    return path


def opened(file: Path, *, older_bytes: int = 1 << 30) -> Monitor:
    return Monitor(file, parse(file.read_bytes()), cold_bytes=40_000, older_bytes=older_bytes)


def begun(monitor: Monitor) -> Backfill:
    monitor.add(monitor.read()[0], NOW)
    older = monitor.older(NOW)
    assert older is not None
    return older


def finish(monitor: Monitor, older: Backfill) -> None:
    while not older.over:
        monitor.add_older(older, older.next())


@pytest.mark.usefixtures("log")
def test_figures_say_how_far_they_reach_until_all_is_read(file: Path) -> None:
    monitor = opened(file)
    older = begun(monitor)
    reaches_s = monitor.kept_s(None, NOW)
    assert 2000 < reaches_s < 5000
    reading = [monitor.reads_older]
    few = monitor.figures("chat", None, "tokenlab", NOW, 86_400)
    assert few.rate_per_s == pytest.approx(0.1, rel=0.1), "a rate of the time that was read"
    assert dict(monitor.seen_orgs())["chat"] == {"acme": None}.keys()
    finish(monitor, older)
    assert [*reading, monitor.reads_older] == [True, False]
    assert monitor.kept_s(None, NOW) == 86_400
    assert monitor.figures("chat", None, "tokenlab", NOW, 86_400).requests == COUNT
    assert set(monitor.seen_orgs()["chat"]) == {"acme", "gone.eu"}
    assert monitor.older(NOW) is None


def test_figures_begin_after_a_gap_that_comes_later(file: Path, log: Path) -> None:
    monitor = opened(file)
    finish(monitor, begun(monitor))
    assert monitor.kept_s(None, NOW) == 86_400
    log.rename(log.with_name(f"{log.name}.2"))
    packed = gzip.compress(b"".join(line(NOW - 9, f"org-{i}").encode() for i in range(3000)))
    log.with_name(f"{log.name}.1.gz").write_bytes(packed[: len(packed) // 2])
    log.write_text(line(NOW - 5, "acme") * 3)
    records, trouble = monitor.read()
    while records:
        monitor.add(records, NOW)
        assert "is broken; " in trouble
        records, trouble = monitor.read()
    assert monitor.kept_s(None, NOW) == 5


@pytest.mark.usefixtures("log")
def test_without_older_lines_the_figures_say_where_they_begin(file: Path) -> None:
    monitor = opened(file, older_bytes=0)
    monitor.catch_up(NOW)
    assert 2000 < monitor.kept_s(None, NOW) < 5000


@pytest.mark.usefixtures("log")
def test_who_looks_once_waits_for_all(file: Path) -> None:
    monitor = opened(file)
    monitor.catch_up(NOW)
    assert not monitor.reads_older
    assert monitor.figures("chat", None, "tokenlab", NOW, 86_400).requests == COUNT


@pytest.mark.usefixtures("log")
def test_what_is_older_of_another_log_is_not_counted(file: Path) -> None:
    monitor = opened(file)
    older = begun(monitor)
    part = older.next()
    other = file.read_bytes().replace(b'"access.jsonl"', b'"other.jsonl"')
    write(file.parent / "other.jsonl", halves("new.one", "new.two"))
    monitor.configure(parse(other), NOW)
    monitor.add_older(older, part)
    assert older.next() is None, "it was ended"
    for process in older.processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    finish(monitor, begun(monitor))
    assert set(monitor.seen_orgs()["chat"]) == {"new.one", "new.two"}
    assert monitor.figures("chat", None, "tokenlab", NOW, 86_400).requests == COUNT


@pytest.mark.usefixtures("log")
def test_what_could_not_be_read_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monitor = opened(file)
    older = begun(monitor)
    finish(monitor, older)
    _, trouble = monitor.read()
    assert trouble == "older lines of the log are not read: No such file or directory"
    assert not monitor.reads_older
    assert 2000 < monitor.kept_s(None, NOW) < 5000


def test_a_raise_waits_for_the_past_that_it_is_judged_by(file: Path) -> None:
    settings = file.read_text().replace('bake = "15m"', 'bake = "10h"')
    file.write_text(settings)
    os.utime(file, (NOW - 90_000, NOW - 90_000))
    path = file.parent / "access.jsonl"
    bad = line(NOW - 30_000, "acme").replace("200", "503") * 200
    path.write_text(bad + "".join(line(NOW - 900 + i, "acme") for i in range(900)))
    monitor = opened(file)
    monitor.remember(Recorded((), monitor.file.revision, 0.0), NOW)
    older = begun(monitor)
    assert monitor.health("chat", "acme", NOW).verdict_text == "hold: reading the log"
    finish(monitor, older)
    verdict = monitor.health("chat", "acme", NOW).verdict_text
    assert verdict == "hold: 5xx 18% in 8 h, 200 of 1100"


@pytest.mark.usefixtures("log")
def test_a_guard_does_not_wait_for_the_past(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on, next_of = threading.Event(), Backfill.next

    def held_up(older: Backfill) -> Part | None:
        may_go_on.wait()
        return next_of(older)

    monkeypatch.setattr(Backfill, "next", held_up)
    monitor = opened(file)
    monitor.go_on(NOW)
    reading = [monitor.reads_older]
    may_go_on.set()
    end = time.monotonic() + 15
    while monitor.reads_older and time.monotonic() < end:
        monitor.go_on(NOW)
    assert [*reading, monitor.reads_older] == [True, False]
    assert monitor.figures("chat", None, "tokenlab", NOW, 86_400).requests == COUNT


def held_open(folder: Path) -> list[str]:
    """The files in a folder that this process holds open."""
    names = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return [Path(name).name for name in names if folder in Path(name).parents]


def test_a_log_that_is_followed_no_more_is_not_held_open(file: Path) -> None:
    first, second = (file.with_name(name) for name in ("access.jsonl", "other.jsonl"))
    first.touch()
    second.touch()
    monitor = Monitor(file, parse(file.read_bytes()))
    monitor.read()
    assert held_open(file.parent) == [first.name]
    text = file.read_text().replace(first.name, second.name)
    monitor.configure(parse(text.encode()), time.time())
    monitor.read()
    assert held_open(file.parent) == [second.name]
    monitor.close()
    assert held_open(file.parent) == []
