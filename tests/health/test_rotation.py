"""Rotation while following, history for a cold start, several files, and sick input."""

import gzip
import json
import os
import random
import shutil
import time
import zlib
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.health.log import follower as follow
from rollout_console.health.log import multi_file as log_set
from rollout_console.health.log.follower import LogFollower
from rollout_console.health.log.lines import MAX_LINE
from rollout_console.health.log.multi_file import LogSet, open_log
from rollout_console.health.log.rotation import log_of, rotated
from tests.support.examples import folder_of_example
from tests.support.unprivileged import as_nobody, folder_of_nobody

_MOST = 60


def line(number: int, **more: object) -> bytes:
    second, ms = divmod(number, 1000)
    record = {
        "ts": f"2026-11-23T19:{second // 60:02d}:{second % 60:02d}.{ms:03d}Z", "route": "chat",
        "org": f"org-{number}", "side": "tokenlab", "status": 200, "latency_ms": 12.5,
        "request_id": f"req-{number}",
    }  # fmt: skip
    return json.dumps({**record, **more}).encode() + b"\n"


def lines(*numbers: int) -> bytes:
    return b"".join(line(number) for number in numbers)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def numbers(log: LogFollower | LogSet | log_set.Log, most: int = 4 << 20) -> list[int]:
    """Read until nothing more comes."""
    found: list[int] = []
    while True:
        records = log.poll(most)
        found += [int(record.org.removeprefix("org-")) for record in records]
        if not records and not log.behind:
            return found


def rotate(path: Path, *, pack_from: int = 99, keep: bool = False) -> None:
    """Rename as logrotate does, with gzip from a number on; ``keep`` the log where it is."""
    for number in range(_MOST, 0, -1):
        for suffix in ("", ".gz"):
            old = path.with_name(f"{path.name}.{number}{suffix}")
            if old.exists():
                old.rename(path.with_name(f"{path.name}.{number + 1}{suffix}"))
    if not keep:
        path.rename(path.with_name(f"{path.name}.1"))
    for number in range(pack_from, _MOST):
        old = path.with_name(f"{path.name}.{number}")
        if old.exists():
            pack(old)


def pack(path: Path) -> None:
    status = path.stat()
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()


def test_two_rotations_between_polls_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(0))
    rotate(path)
    path.write_bytes(lines(1))
    follower = LogFollower(path)
    assert numbers(follower) == [1]
    append(path, lines(2))
    for n in (3, 4, 5):
        rotate(path)
        path.write_bytes(lines(n))
    assert numbers(follower) == [2, 3, 4, 5]
    assert numbers(follower) == []


def test_a_missed_file_that_was_packed_already_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1))
    follower = LogFollower(path)
    assert numbers(follower) == [1]
    for n in (2, 3, 4):
        time.sleep(0.02)  # without its inode, the time tells what came after it
        rotate(path, pack_from=2)
        path.write_bytes(lines(n))
    assert not (tmp_path / "a.jsonl.3").exists()
    assert numbers(follower) == [2, 3, 4]


def test_what_was_read_is_not_read_again_when_it_is_packed_later(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1, 2))
    follower = LogFollower(path)
    assert numbers(follower) == [1, 2]
    rotate(path)
    path.write_bytes(lines(3))
    (tmp_path / "a.jsonl.1.gz").write_bytes(gzip.compress(lines(1, 2)))
    (tmp_path / "a.jsonl.1").unlink()
    later = time.time() + 60
    os.utime(tmp_path / "a.jsonl.1.gz", (later, later))
    assert numbers(follower) == [3]


def test_the_rest_of_a_truncated_log_is_read_from_its_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1, 2) + line(3)[:30])
    follower = LogFollower(path)
    assert numbers(follower) == [1, 2]
    append(path, line(3)[30:] + line(4))
    shutil.copy(path, tmp_path / "a.jsonl.1")
    path.write_bytes(b"")
    append(path, lines(5))
    assert numbers(follower) == [3, 4, 5]
    assert follower.unusable.lines == 0


def copytruncate(path: Path, *, packed: bool = True) -> None:
    """Rotate as logrotate does with copytruncate, and with compress where ``packed``."""
    rotate(path, keep=True)
    suffix = ".1.gz" if packed else ".1"
    data = path.read_bytes()
    path.with_name(path.name + suffix).write_bytes(gzip.compress(data) if packed else data)
    os.truncate(path, 0)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("seen", [2, 4000])
def test_lines_that_went_into_a_copy_between_two_looks_are_read_from_there(
    tmp_path: Path, packed: bool, seen: int
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*range(seen)) + line(seen)[:30])
    follower = LogFollower(path)
    assert numbers(follower) == list(range(seen))
    append(path, line(seen)[30:] + lines(seen + 1))
    copytruncate(path, packed=packed)
    append(path, lines(seen + 2))
    assert numbers(follower) == [seen, seen + 1, seen + 2]
    append(path, lines(seen + 3))
    copytruncate(path, packed=packed)
    append(path, lines(seen + 4))
    assert numbers(follower) == [seen + 3, seen + 4]
    assert (follower.trouble, follower.unusable.lines) == ("", 0)


@pytest.mark.parametrize("packed", [True, False])
def test_several_copies_between_two_looks_lose_nothing(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1))
    follower = LogFollower(path)
    assert numbers(follower) == [1]
    append(path, lines(2))
    for n in (3, 4, 5):
        copytruncate(path, packed=packed)
        append(path, lines(n))
    assert numbers(follower) == [2, 3, 4, 5]
    assert numbers(follower) == []


def test_a_copy_that_is_broken_or_of_another_log_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1, 2))
    follower = LogFollower(path)
    assert numbers(follower) == [1, 2]
    packed = gzip.compress(lines(1, 2, 3) * 50)
    (tmp_path / "a.jsonl.1.gz").write_bytes(packed[: len(packed) // 8])
    (tmp_path / "a.jsonl.2.gz").write_bytes(gzip.compress(lines(1)))
    os.truncate(path, 0)
    append(path, lines(4))
    assert numbers(follower)[-1] == 4


def test_why_a_line_cannot_be_used_is_said_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for first, why in (
        (line(1, ts=1764076800000), "ts is no RFC 3339 time with a zone, such as "),
        (line(1, ts="2026-11-25T10:00:00"), "ts is no RFC 3339 time with a zone, such as "),
        (line(1, side="other"), "side: Invalid enum value 'other'"),
        (line(1, status=1000), "status: Expected `int` <= 999"),
        (b'{"ts": "2026-11-25T10:00:00Z"}\n', "Object missing required field `route`"),
        (b"not json\n", "JSON is malformed"),
        (b'{"org": "\xff"}\n', "byte 0xff in a string is not UTF-8"),
        (b"x" * (MAX_LINE + 10) + b"\n", "it is longer than 64 KiB"),
    ):
        path.write_bytes(lines(1) + first + b"[]\n")
        follower = LogFollower(path)
        assert numbers(follower) == [1]
        assert follower.unusable.lines == 2
        assert follower.unusable.why.startswith(why)
        follower.close()
        assert follower.unusable.lines == 2
    several = LogSet(tmp_path / "*.jsonl")
    assert numbers(several) == [1]
    assert several.unusable.why.startswith("a.jsonl: it is longer")


def test_truncated_and_grown_beyond_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1, 2))
    follower = LogFollower(path)
    assert numbers(follower) == [1, 2]
    path.write_bytes(lines(*range(10, 20)))
    assert numbers(follower) == [*range(10, 20)]
    path.write_bytes(lines(*range(30, 40)))  # to the very same size
    assert numbers(follower) == [*range(30, 40)]


def test_a_truncated_log_that_its_writer_goes_on_in_at_the_old_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1))
    follower = LogFollower(path)
    assert numbers(follower) == [1]
    path.write_bytes(b"\0" * 300_000 + lines(2))
    assert numbers(follower, 64 * 1024) == [2]
    assert follower.unusable.lines == 0


def test_a_writer_that_has_the_rotated_file_open_still_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1))
    follower = LogFollower(path)
    assert numbers(follower) == [1]
    rotate(path)
    path.write_bytes(lines(3))
    assert numbers(follower) == [3]
    append(tmp_path / "a.jsonl.1", lines(2))
    assert numbers(follower) == [2]
    monkeypatch.setattr(follow, "time", SimpleNamespace(monotonic=lambda: 1e12, time=time.time))
    numbers(follower)
    append(tmp_path / "a.jsonl.1", lines(4))
    assert numbers(follower) == []


def test_deleted_and_restored(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1))
    follower = LogFollower(path)
    assert numbers(follower) == [1]
    path.unlink()
    assert numbers(follower) == []
    assert "it begins with the first request" in follower.trouble
    path.write_bytes(lines(2))
    assert numbers(follower) == [2]
    assert follower.trouble == ""


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(("append", "half", "poll", "rename", "renames", "copy", "packed")),
        max_size=25,
    ),
    st.integers(200, 3000),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_every_whole_line_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], most: int, rng: random.Random
) -> None:
    folder = folder_of_example(tmp_path_factory)
    path = folder / "a.jsonl"
    path.touch()
    follower = LogFollower(path)
    follower.poll()
    found: list[int] = []
    written, half = 0, b""
    for step in steps:
        if step == "append":
            for _ in range(rng.randrange(1, 6)):
                append(path, half or line(written))
                half, written = b"", written + 1
        elif step == "half" and not half:
            cut = rng.randrange(1, 80)
            append(path, line(written)[:cut])
            half = line(written)[cut:]
        elif step == "poll":
            found += [int(r.org.removeprefix("org-")) for r in follower.poll(most)]
        elif half:
            continue  # a line is one write: rotation comes between them
        elif step == "rename":
            rotate(path)
            path.touch()
        elif step == "renames":
            for _ in range(rng.randrange(1, 3)):
                rotate(path)
                path.write_bytes(line(written))
                written += 1
        elif step in ("copy", "packed") and path.stat().st_size:
            found += numbers(follower, most)  # so that the reader has a place to find again
            append(path, line(written))
            copytruncate(path, packed=step == "packed")
            written += 1
    found += numbers(follower, most)
    follower.close()
    assert found == [*range(written)]
    assert follower.unusable.lines == 0


def test_history_comes_first_and_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    now = time.time()
    for n, (name, age) in enumerate(
        (("a.jsonl.3.gz", 7200), ("a.jsonl.2.gz", 1800), ("a.jsonl.1", 600), ("a.jsonl", 0))
    ):
        data = lines(2 * n, 2 * n + 1)
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        os.utime(tmp_path / name, (now - age, now - age))
    (tmp_path / "a.jsonl.old").write_bytes(lines(99))
    (tmp_path / "ab.jsonl.1").write_bytes(lines(99))

    def read(tail_bytes: int, history_s: float) -> list[int]:
        log = open_log(path, start="tail", tail_bytes=tail_bytes, history_s=history_s)
        found = numbers(log)
        assert (log.trouble, log.unusable.lines) == ("", 0)
        log.close()
        return found

    size = len(lines(0))
    assert read(1 << 20, 3600) == [2, 3, 4, 5, 6, 7]
    assert read(1 << 20, 10_000) == [*range(8)]
    assert read(1 << 20, 0) == [6, 7]
    assert read(3 * size, 3600) == [5, 6, 7]
    assert read(size, 3600) == [7]


def test_two_members_and_dates_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    (tmp_path / "a.jsonl-20261122.gz").write_bytes(
        gzip.compress(lines(1)) + gzip.compress(lines(2))
    )
    (tmp_path / "a.jsonl-20261123").write_bytes(lines(3))
    path.write_bytes(lines(4))
    log = open_log(path, start="tail", tail_bytes=1 << 20, history_s=3600)
    assert numbers(log) == [1, 2, 3, 4]


def _bomb() -> bytes:
    zeros = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(zeros.compress(b"\0" * (1 << 20)) for _ in range(200)) + zeros.flush()
    return bomb[:-4] + (100).to_bytes(4, "little")  # it says that it is small


@pytest.mark.parametrize("kind", ["garbage", "cut", "tiny", "bomb"])
def test_broken_history_is_told_and_does_no_harm(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(9))
    some = bytes(random.Random(1).randrange(256) for _ in range(5000))
    whole = gzip.compress(lines(*range(500)))
    data = {"garbage": some, "cut": whole[:-500], "tiny": b"\x1f\x8b"}.get(kind) or _bomb()
    (tmp_path / "a.jsonl.1.gz").write_bytes(data)
    log = open_log(path, start="tail", tail_bytes=1 << 20, history_s=3600)
    started = time.perf_counter()
    found = numbers(log)
    assert time.perf_counter() - started < 5
    assert found[-1] == 9
    assert log.trouble.startswith(str(tmp_path))
    assert ("the decompression limit" in log.trouble) == (kind == "bomb")
    if kind == "cut":
        assert found[:-1] == [*range(len(found) - 1)]
        assert len(found) > 100


@pytest.mark.parametrize("packed", [False, True])
def test_figures_begin_after_history_that_may_not_be_read(packed: bool) -> None:
    with folder_of_nobody() as folder:

        def work() -> None:
            path = folder / "a.jsonl"
            path.with_name("a.jsonl.3").write_bytes(lines(1, 2))
            lost = path.with_name("a.jsonl.2")
            lost.write_bytes(lines(3, 4))
            if packed:
                pack(lost)
                lost = path.with_name("a.jsonl.2.gz")
            lost.chmod(0)
            path.with_name("a.jsonl.1").write_bytes(lines(5, 6))
            path.write_bytes(lines(7))
            log = LogFollower(path, start="tail", history_s=3600)
            assert numbers(log) == [5, 6, 7]
            assert log.trouble == (
                f"{lost} cannot be read: Permission denied; the figures begin after it"
            )
            first = datetime.fromisoformat(json.loads(line(5))["ts"])
            assert log.begins_at == first.timestamp()

        as_nobody(work)


def test_history_in_a_folder_that_may_not_be_listed_is_not_taken_for_none() -> None:
    with folder_of_nobody() as folder:

        def work() -> None:
            path = folder / "a.jsonl"
            path.with_name("a.jsonl.1").write_bytes(lines(1, 2))
            path.write_bytes(lines(3))
            folder.chmod(0o300)
            log = LogFollower(path, start="tail", history_s=3600)
            assert numbers(log) == [3]
            why = f"{folder} cannot be read: Permission denied"
            assert log.trouble == f"{why}; the figures begin after it"
            assert not log.unreadable
            assert log.begins_at == datetime.fromisoformat(json.loads(line(3))["ts"]).timestamp()
            log = LogFollower(path)
            assert numbers(log) == [3]
            rotate(path)
            path.write_bytes(lines(4))
            assert numbers(log) == [4]
            assert log.trouble == why

        as_nobody(work)


def test_a_rotated_file_is_known_by_its_name(tmp_path: Path) -> None:
    names = ["x.1", "x.2.gz", "x-20261123.gz", "x.gz", "x.2026-11-23_10", "x.10"]
    for name in [*names, "x", "x.old", "x1", "xy.1", "x.1.bak", "x.1a", "y.1"]:
        (tmp_path / name).touch()
    found = [one.path.name for one in rotated(tmp_path / "x")]
    assert sorted(found) == sorted(names)
    assert found[-3:] == ["x.10", "x.2.gz", "x.1"]
    assert {log_of(name) for name in names} == {"x"}
    assert [log_of(name) for name in ("x.old", "a.jsonl", "app.2.jsonl")] == [
        "x.old", "a.jsonl", "app.2.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "fifo", "loop", "device"])
def test_what_is_no_file_is_told_until_it_is_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("a.jsonl" if kind == "loop" else "/dev/zero")
    follower = LogFollower(path)
    assert follower.poll() == []
    assert follower.trouble.startswith(f"{path} cannot be read")
    path.rmdir() if kind == "folder" else path.unlink()
    path.write_bytes(lines(1))
    assert numbers(follower) == [1]
    path.unlink()
    os.mkfifo(path)
    assert numbers(follower) == []
    assert "it is not a file" in follower.trouble


SICK = [
    b"x" * (10 << 20), b'{"ts":"' + b"x" * (10 << 20) + b'"}', b"\0" * 10, b'{"a":"\0"}',
    b"[" * 100_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"\xff\xfe\xfd", b"null", b"1", b'""',
    line(1, latency_ms=-1)[:-1], line(1, latency_ms=1e300)[:-1], line(1, status=-5)[:-1],
    line(1)[:-1].replace(b"12.5", b"NaN"), line(1)[:-1].replace(b"12.5", b"1e999"),
    line(1, status="200")[:-1], line(1, status=10**30)[:-1], line(1, org="o" * 300)[:-1],
    line(1)[:-1] * 2, line(1)[:-2], line(1, org=None)[:-1], line(1, ts=0)[:-1],
]  # fmt: skip


@pytest.mark.parametrize("most", [1 << 16, 4 << 20])
def test_sick_lines_are_counted_and_passed_over(tmp_path: Path, most: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(line(i) + sick + b"\n" for i, sick in enumerate(SICK)) + lines(999))
    follower = LogFollower(path)
    started = time.perf_counter()
    assert numbers(follower, most) == [*range(len(SICK)), 999]
    assert time.perf_counter() - started < 10
    assert follower.unusable.lines == len(SICK)


@pytest.mark.parametrize("sick", [line(1)[:-1] * 2 + b"\n", line(1).replace(b'"org"', b'\n"org"')])
def test_a_line_is_one_record_and_a_record_is_one_line(tmp_path: Path, sick: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(sick + lines(2))
    follower = LogFollower(path)
    assert numbers(follower) == [2]
    assert follower.unusable.lines == sick.count(b"\n")


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30).map(lambda data: data.replace(b"\n", b" ")),
            st.sampled_from([b"", b"  ", b"{", line(1)[:-1], line(1)[:50], line(1)[50:-1]]),
        ),
        max_size=200,
    ),
    st.integers(1, 4000),
)
def test_all_at_once_is_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, given_lines: list[bytes], most: int
) -> None:
    path = folder_of_example(tmp_path_factory) / "a.jsonl"
    path.write_bytes(b"{}\n" + b"\n".join(given_lines) + b"\n")
    follower = LogFollower(path)
    found = numbers(follower, most)
    good = sum(one == line(1)[:-1] for one in given_lines)
    blank = sum(not one or one.isspace() for one in given_lines)
    assert len(found) == good
    assert follower.unusable.lines == 1 + len(given_lines) - good - blank


def test_a_few_bad_lines_do_not_slow_down_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    some = [line(i % 60_000) for i in range(20_000)]
    some[7_000] = some[15_000] = b"bad\n"
    path.write_bytes(b"".join(some))
    follower = LogFollower(path)
    assert len(follower.poll(16 << 20)) == 19_998
    assert follower.unusable.lines == 2
    assert MAX_LINE < 16 << 20
