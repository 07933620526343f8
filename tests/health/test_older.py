"""Older lines: read by other processes, and counted as if they had been read here."""

import gzip
import os
import random
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.health.backfill import reader as older_module
from rollout_console.health.backfill.reader import Backfill
from rollout_console.health.backfill.segment import LogSegment, StretchReader, shares
from rollout_console.health.backfill.transfer import Intake, decode, encode, end_of, frames
from rollout_console.health.log.follower import LogFollower
from rollout_console.health.log.multi_file import LogSet
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.top_errors import TopErrors
from rollout_console.health.windows.windows import Windows
from tests.support.stopped import stop_in_its_write

NOW = float(int(time.time()))
WINDOWS_S = (60, 300, 3600, 86_400)


def line(ago: float, org: str = "acme", status: int = 200, latency: float = 100.0) -> bytes:
    ts = datetime.fromtimestamp(NOW - ago, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    record: dict[str, object] = {
        "ts": ts, "route": "chat", "org": org, "side": "tokenlab", "model": "m",
        "status": status, "latency_ms": latency, "request_id": f"req_{ago}",
    }  # fmt: skip
    if status >= 400:
        record["error"] = "upstream"
    return msgspec.json.encode(record) + b"\n"


def some_lines(count: int, span_s: float, seed: int = 1) -> list[bytes]:
    rng = random.Random(seed)
    return [
        line(
            span_s - i * span_s / count,
            f"o{rng.randrange(20)}",
            rng.choice((200, 200, 200, 503, 429)),
            rng.lognormvariate(6, 0.5),
        )
        for i in range(count)
    ]


def figures(windows: Windows, errors: TopErrors) -> object:
    """Everything that is shown of what was read."""
    orgs = sorted({key[1] for key in windows.kept.tracks if key[1] is not None})
    return (
        [windows.summary(NOW, s, "chat", org) for s in WINDOWS_S for org in (None, *orgs)],
        [windows.summary(NOW, s) for s in WINDOWS_S],
        [windows.series(NOW, s, 60, "p95", "chat") for s in WINDOWS_S],
        [windows.models(NOW, s, "chat") for s in WINDOWS_S],
        {org: windows.last_seen("chat", org, "tokenlab") for org in orgs},
        [errors.top(NOW, s) for s in WINDOWS_S],
        (windows.late, windows.skewed),
    )


def read_whole(path: Path) -> tuple[Windows, TopErrors, LogFollower]:
    windows, errors = Windows(), TopErrors()
    follower = LogFollower(path, start="tail", tail_bytes=1 << 40, history_s=90_000)
    add_all(follower, windows, errors)
    return windows, errors, follower


def add_all(follower: LogFollower, windows: Windows, errors: TopErrors) -> None:
    while records := follower.poll():
        windows.add(records, NOW)
        errors.add(records, NOW)


def read_divided(
    path: Path, tail_bytes: int, older_bytes: int = 1 << 40
) -> tuple[Windows, TopErrors, LogFollower, Backfill]:
    windows, errors = Windows(), TopErrors()
    follower = LogFollower(
        path, start="tail", tail_bytes=tail_bytes, history_s=90_000, older_bytes=older_bytes
    )
    records = follower.poll()
    windows.add(records, NOW)
    errors.add(records, NOW)
    older = Backfill(follower.take_older(), windows, errors, NOW)
    add_all(follower, windows, errors)
    finish(older)
    return windows, errors, follower, older


def finish(older: Backfill) -> None:
    while not older.over:
        older.take(older.next())


@pytest.fixture(autouse=True)
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(older_module, "_LEAST_BYTES", 10_000)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


@pytest.mark.parametrize("span_s", [240, 7200, 86_000])
def test_figures_are_those_of_the_whole_log(tmp_path: Path, span_s: float) -> None:
    path = tmp_path / "access.jsonl"
    lines = some_lines(6000, span_s)
    lines[100:100] = [b"not a line\n", b"\n", b'{"ts":1}\n']
    path.write_bytes(b"".join(lines))
    whole, errors, follower = read_whole(path)
    windows, some_errors, rest, older = read_divided(path, 100_000)
    assert older.complete
    assert older.trouble == ""
    assert older.begins_at == float("-inf")
    assert figures(windows, some_errors) == figures(whole, errors)
    assert rest.unusable.lines + older.unusable.lines == follower.unusable.lines == 2
    assert rest.begins_at > NOW - span_s / 2


def test_unusable_lines_are_dated_by_the_usable_ones_next_to_them(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    lines = some_lines(3000, 3000)  # one a second
    too_long = b"x" * 70_000 + b"\n"
    for at in (2_999, 2_000, 1_000, 200):
        lines[at:at] = [b"not a line\n"] * 5 + [too_long]
    path.write_bytes(b"".join(lines))
    *_, follower = read_whole(path)
    *_, rest, older = read_divided(path, 100_000)
    assert {at: lines for at, (lines, _) in follower.unusable_times.by_second.items()} == {
        int(NOW) - ago: 6 for ago in (1, 1_000, 2_000, 2_800)
    }
    both = {**older.unusable_at, **rest.unusable_times.by_second}
    assert {at: lines for at, (lines, _) in both.items()} == {
        int(NOW) - ago: 6 for ago in (1, 1_000, 2_000, 2_800)
    }
    assert follower.unusable_times.last == ()
    assert 0 < sum(older.recent.values()) <= 600


def test_lines_go_on_to_be_counted_after_what_is_older_came(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    lines = some_lines(3000, 4000)
    later = [line(-i / 10, f"o{i % 25}") for i in range(300)]
    path.write_bytes(b"".join(lines))
    whole, _, follower = read_whole(path)
    windows, _, rest, _ = read_divided(path, 20_000)
    with path.open("ab") as stream:
        stream.write(b"".join(later))
    for one, reader in ((whole, follower), (windows, rest)):
        records = reader.poll()
        assert len(records) == 300
        for i in range(0, 300, 7):
            one.add(records[i : i + 7], NOW + 31)
    for window_s in WINDOWS_S:
        for org in (None, "o1", "o24"):
            asked = (NOW + 31, window_s, "chat", org)
            assert windows.summary(*asked) == whole.summary(*asked)


def test_rotated_and_packed_files_are_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    lines = some_lines(8000, 20_000)
    packed = b"".join(lines[:2000])
    (tmp_path / "access.jsonl.3.gz").write_bytes(
        gzip.compress(packed[:50_000]) + gzip.compress(packed[50_000:])
    )
    (tmp_path / "access.jsonl.2").write_bytes(b"".join(lines[2000:4000]).rstrip(b"\n"))
    (tmp_path / "access.jsonl.1").write_bytes(b"".join(lines[4000:7000]))
    path.write_bytes(b"".join(lines[7000:]))
    for i, name in enumerate((".3.gz", ".2", ".1", "")):
        os.utime(tmp_path / f"access.jsonl{name}", (NOW - 400 + i, NOW - 400 + i))
    whole, errors, _ = read_whole(path)
    assert whole.summary(NOW, 86_400).requests == 8000
    for tail_bytes in (50_000, 300_000, 1_000_000):
        windows, some_errors, _, older = read_divided(path, tail_bytes)
        assert older.complete
        assert older.trouble == ""
        assert figures(windows, some_errors) == figures(whole, errors)


def test_a_file_that_is_renamed_or_deleted_meanwhile_is_read(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"".join(some_lines(3000, 4000)))
    windows, errors = Windows(), TopErrors()
    follower = LogFollower(path, start="tail", tail_bytes=20_000, older_bytes=1 << 40)
    windows.add(follower.poll(), NOW)
    stretches = follower.take_older()
    path.unlink()
    path.write_bytes(line(1))
    older = Backfill(stretches, windows, errors, NOW)
    finish(older)
    assert windows.summary(NOW, 86_400).requests == 3000


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"".join(some_lines(6000, 6000)))
    size = path.stat().st_size
    windows, _, _, older = read_divided(path, size // 6, size // 3)
    assert older.complete
    assert older.begins_at == pytest.approx(NOW - 3000, abs=60)
    assert windows.summary(NOW, 86_400).requests == pytest.approx(3000, abs=60)
    no_older = LogFollower(path, start="tail", tail_bytes=size // 6)
    no_older.poll()
    assert no_older.take_older() == []
    assert no_older.begins_at == pytest.approx(NOW - 1000, abs=60)


def test_a_process_that_is_ended_is_told_and_nothing_hangs(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"".join(some_lines(20_000, 4000)))
    windows, errors = Windows(), TopErrors()
    follower = LogFollower(path, start="tail", tail_bytes=20_000, older_bytes=1 << 40)
    windows.add(follower.poll(), NOW)
    older = Backfill(follower.take_older(), windows, errors, NOW)
    assert len(older.processes) == 2
    os.kill(older.processes[0], signal.SIGKILL)
    finish(older)
    assert not older.complete
    assert older.trouble == "older lines of the log could not be read; the figures begin later"
    assert windows.summary(NOW, 86_400).requests > 0


def opened_divided(path: Path) -> tuple[Windows, TopErrors, Backfill]:
    """Start the backfill of a log; nobody reads the pipes of its worker processes yet."""
    windows, errors = Windows(), TopErrors()
    follower = LogFollower(path, start="tail", tail_bytes=20_000, older_bytes=1 << 40)
    records = follower.poll()
    windows.add(records, NOW)
    errors.add(records, NOW)
    older = Backfill(follower.take_older(), windows, errors, NOW)
    add_all(follower, windows, errors)
    return windows, errors, older


def test_workers_that_are_stopped_and_go_on_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PYTHONUNBUFFERED a write that is interrupted lost its rest, and ended the reading."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"".join(some_lines(20_000, 80_000)))
    whole, whole_errors, _ = read_whole(path)
    windows, errors, older = opened_divided(path)
    for worker in older._workers:
        assert worker._process.stdout is not None
        stop_in_its_write(worker.process, worker._process.stdout.fileno())
    finish(older)
    assert older.complete
    assert figures(windows, errors) == figures(whole, whole_errors)


def test_a_frame_that_cannot_be_read_is_told_and_nothing_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(data: bytes) -> Any:
        return decode(data[: len(data) // 2])

    path = tmp_path / "access.jsonl"
    path.write_bytes(b"".join(some_lines(3_000, 4_000)))
    with monkeypatch.context() as patched:
        patched.setattr(older_module, "decode", broken)
        windows, _, older = opened_divided(path)
        finish(older)
    assert not older.complete
    assert older.trouble == "older lines of the log could not be read; the figures begin later"
    assert windows.summary(NOW, 86_400).requests > 0


def test_a_broken_packed_file_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    packed = gzip.compress(b"".join(some_lines(3000, 4000)), 1)
    old = tmp_path / "access.jsonl.1.gz"
    # Its end stands where the size is told.
    old.write_bytes(packed[: len(packed) // 2] + packed[-8:])
    path.write_bytes(b"".join(line(i / 100) for i in range(1000)))
    *_, older = read_divided(path, 20_000)
    assert older.trouble.startswith(f"{old} is broken; ")
    # What is after it is all there, and what is before it has a gap at its end.
    assert older.complete
    assert older.begins_at == NOW


def test_figures_begin_after_a_broken_file_that_is_right_before_what_was_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "access.jsonl"
    packed = gzip.compress(b"".join(some_lines(3000, 4000)), 1)
    path.with_name("access.jsonl.1.gz").write_bytes(packed[: len(packed) // 2] + packed[-8:])
    path.write_bytes(b"".join(line(i / 100) for i in range(1000, 0, -1)))
    _, _, follower, older = read_divided(path, path.stat().st_size + 1000)
    assert not older.complete
    assert "is broken; " in older.trouble
    assert follower.begins_at == NOW - 10


@pytest.mark.parametrize("broken", [False, True])
def test_of_several_logs_the_one_that_reaches_least_far_counts(
    tmp_path: Path, broken: bool
) -> None:
    for name, span_s in (("a", 3000), ("b", 6000)):
        log = b"".join(some_lines(3000, span_s))
        (tmp_path / f"{name}.jsonl").write_bytes(log)
    if broken:
        packed = gzip.compress(b"".join(some_lines(100, 100)), 1)
        (tmp_path / "a.jsonl.1.gz").write_bytes(packed[: len(packed) // 2] + packed[-8:])
    size = (tmp_path / "a.jsonl").stat().st_size
    log_set = LogSet(
        tmp_path / "*.jsonl", start="tail", tail_bytes=size // 3, history_s=90_000,
        older_bytes=8 * size if broken else size,
    )  # fmt: skip
    log_set.poll()
    older = Backfill(log_set.take_older(), Windows(), TopErrors(), NOW)
    finish(older)
    log_set.close()
    assert older.complete != broken
    if not broken:
        # Two thirds of each are read, which is less time in the shorter one.
        assert older.begins_at == pytest.approx(NOW - 2000, abs=120)


def test_what_lies_in_the_working_directory_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rollout_console").mkdir()
    (tmp_path / "rollout_console" / "__init__.py").write_text("raise SystemExit(1)")
    (tmp_path / "msgspec.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"".join(some_lines(1000, 4000)))
    *_, older = read_divided(path, 20_000)
    assert older.complete


def open_files() -> set[str]:
    """Return what the descriptors of this process are of: a pipe or a socket by its inode."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return found


def test_no_descriptor_and_no_process_is_left(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"".join(some_lines(2000, 4000)))
    read_divided(path, 20_000)
    before = open_files()
    for _ in range(3):
        *_, follower, older = read_divided(path, 20_000)
        follower.close()
        for process in older.processes:
            with pytest.raises(ProcessLookupError):
                os.kill(process, 0)
    assert open_files() <= before, "what is new was left open"


cuts = st.lists(st.integers(0, 3000), max_size=5)


@settings(max_examples=100)
@given(cuts, st.integers(1, 4), st.integers(1, 2000), st.booleans())
def test_every_line_is_in_one_share(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], most: int, least: int, ends: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "shares.jsonl"
    data = b"".join(b"%d%s\n" % (i, b"x" * length) for i, length in enumerate(lengths))
    path.write_bytes(data if ends else data[:-1])
    size = path.stat().st_size
    descriptor = os.open(path, os.O_RDONLY)
    whole = LogSegment(str(path), descriptor, 0, size)
    found = []
    for share in shares([whole] if size else [], most, least):
        for stretch in share:
            copy = msgspec.structs.replace(stretch, descriptor=os.dup(descriptor))
            found.append(b"".join(StretchReader(copy).lines()))
    os.close(descriptor)
    assert len(found) <= most
    assert b"".join(found) == (data if data.strip() else b"")


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 90_000), st.sampled_from("abc"), st.sampled_from((200, 429, 503)),
            st.floats(0.1, 1e5), st.integers(0, 3),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_what_is_divided_in_any_way_counts_the_same(
    lines: list[tuple[float, str, int, float, int]],
) -> None:
    whole, errors = Windows(), TopErrors()
    parts = [(Windows(), TopErrors()) for _ in range(3)]
    target, target_errors = Windows(), TopErrors()
    for ago, org, status, latency, part in lines:
        ts = datetime.fromtimestamp(NOW - round(ago, 3), UTC)
        record = AccessRecord(ts, "chat", org, "tokenlab", status, latency, "m", None, f"r{ago}")
        one, its_errors = (target, target_errors) if part == 3 else parts[part]
        for windows, found in ((whole, errors), (one, its_errors)):
            windows.add([record], NOW)
            found.add([record], NOW)
    for windows, found in parts:
        intake = Intake(target, target_errors)
        for frame in (*frames(windows, found), end_of(windows)):
            intake.take(decode(encode(frame)))
    assert figures(target, target_errors) == figures(whole, errors)
