"""Following a log: rotation, truncation, half lines, bad lines."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.health.log.follower import LogFollower
from rollout_console.health.log.lines import MAX_LINE, decoded
from rollout_console.health.log.multi_file import open_log
from rollout_console.health.windows.windows import Windows
from tests.support.examples import folder_of_example


def line(number: int, **more: object) -> bytes:
    record = {
        "ts": "2026-11-23T19:31:04.123Z", "route": "chat", "org": f"org-{number}",
        "side": "tokenlab", "status": 200, "latency_ms": 12.5, "model": "m", "new": [1],
    }  # fmt: skip
    return json.dumps({**record, **more}).encode() + b"\n"


def orgs(follower: LogFollower) -> list[str]:
    return [record.org for record in follower.poll()]


def test_whole_lines_once_each(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    follower = LogFollower(path)
    assert follower.poll() == []
    assert "it begins with the first request" in follower.trouble
    path.write_bytes(line(1) + line(2)[:20])
    assert orgs(follower) == ["org-1"]
    assert follower.trouble == ""
    with path.open("ab") as stream:
        stream.write(line(2)[20:] + line(3))
    assert orgs(follower) == ["org-2", "org-3"]
    assert orgs(follower) == []


@pytest.mark.parametrize("name", ["output_tokens", "attempt", "bucket", "status", "latency_ms"])
@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e400"])
def test_a_number_beyond_all_bounds_is_an_unusable_line(name: str, number: str) -> None:
    good = line(1).rstrip()
    bad = good[:-1] + f', "{name}": {number}}}'.encode()
    records, unusable = decoded(good + b"\n" + bad + b"\n" + good + b"\n")
    assert [record.org for record in records] == ["org-1"] * 2
    assert unusable.lines == 1
    windows = Windows()
    windows.add(records, records[0].at)


def test_rotation_by_rename_drains_the_old_file_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1))
    follower = LogFollower(path)
    assert orgs(follower) == ["org-1"]
    with path.open("ab", buffering=0) as stream:
        stream.write(line(2))
        path.rename(tmp_path / "a.1")
        path.write_bytes(line(3))
        assert orgs(follower) + orgs(follower) == ["org-2", "org-3"]


def test_rotation_by_copy_and_truncate(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + line(2))
    follower = LogFollower(path)
    assert len(orgs(follower)) == 2
    path.write_bytes(line(3))
    assert orgs(follower) == ["org-3"]


def test_bad_lines_are_counted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    bad = [
        b"not json\n", b"[]\n", line(1, ts="yesterday"), line(1, side="left"),
        line(1, status="200"), b"\xff\xfe\n", b"x" * (MAX_LINE + 10) + b"\n", b"[" * 5000 + b"\n",
    ]  # fmt: skip
    path.write_bytes(b"".join(bad) + line(9) + b"\n")
    follower = LogFollower(path)
    assert orgs(follower) == ["org-9"]
    assert follower.unusable.lines == len(bad)


@pytest.mark.parametrize(
    "ts", ["2026-11-23T19:31:04", "2026-11-23", "19:31", "", "2026-13-01T00:00:00Z"]
)
def test_a_time_without_its_zone_is_no_time(tmp_path: Path, ts: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1, ts=ts) + line(2, ts="2026-11-23T20:31:04.123+01:00") + line(3))
    follower = LogFollower(path)
    two, three = follower.poll()
    assert two.at == three.at
    assert follower.unusable.lines == 1


def test_a_huge_log_is_entered_near_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(line(i) for i in range(1000)))
    follower = LogFollower(path, start="tail", tail_bytes=1000)
    found = orgs(follower)
    assert 0 < len(found) < 10
    assert found[-1] == "org-999"
    assert follower.unusable.lines == 0


@settings(max_examples=60)
@given(st.lists(st.integers(1, 400), max_size=30), st.integers(1, 300))
def test_no_cut_loses_a_line(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], most: int
) -> None:
    path = folder_of_example(tmp_path_factory) / "a.jsonl"
    data = b"".join(line(i) for i in range(12))
    follower = LogFollower(path)
    found: list[str] = []
    path.write_bytes(b"")
    at = 0
    for cut in [*cuts, len(data)]:
        with path.open("ab") as stream:
            stream.write(data[at : at + cut])
        at += cut
        found += [record.org for record in follower.poll(max_bytes=most)]
    while more := follower.poll(max_bytes=most):
        found += [record.org for record in more]
    for _ in range(len(data) // most + 2):
        found += [record.org for record in follower.poll(max_bytes=most)]
    assert found == [f"org-{i}" for i in range(12)]


@pytest.mark.parametrize("name", ["a.jsonl", "*.jsonl"])
def test_a_folder_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    log = open_log(tmp_path / "logs" / name, start="tail", tail_bytes=1 << 20)
    assert log.poll() == []
    assert log.missing
    assert log.trouble.endswith(f"there is no folder {tmp_path / 'logs'}, so no line is kept")
    (tmp_path / "logs").mkdir()
    log.poll()
    assert log.trouble.endswith("it begins with the first request through the gate")
