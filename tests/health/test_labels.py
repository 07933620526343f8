"""Counts by host and key alias: bounded for any log, and the same in whatever order it is read."""

from datetime import UTC, datetime, timedelta

import pytest

from rollout_console.health.backfill.transfer import Intake, frames
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows import labels
from rollout_console.health.windows.labels import MOST_TRACKS, MOST_VALUES, Labels
from rollout_console.health.windows.top_errors import TopErrors
from rollout_console.health.windows.windows import Windows

START = datetime(2027, 1, 1, tzinfo=UTC)
NOW = START.timestamp()
HOST = ("host", "chat", "tokenlab")


def line(at_s: float, host: str | None = "gw-01", alias: str | None = None) -> AccessRecord:
    return AccessRecord(
        ts=START + timedelta(seconds=at_s), route="chat", org="acme", side="tokenlab", model="m",
        status=200, latency_ms=10.0, host=host, key_alias=alias,
    )  # fmt: skip


def test_a_hundred_thousand_hosts_are_bounded() -> None:
    kept = Labels(5, 3600)
    for i in range(100_000):
        kept.add(HOST, f"pod-{i}", NOW + i / 1000, {0: {1: 1}})
    assert len(kept.tracks[HOST]) <= 2 * MOST_VALUES
    assert kept.recent(HOST, NOW) is None, "some were evicted"
    newest = kept.recent(HOST, NOW + 99.9)
    assert newest is not None
    assert sorted(newest) == sorted(f"pod-{i}" for i in range(99_900, 100_000))


def test_many_routes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST_TRACKS", 400)
    kept = Labels(5, 3600)
    for i in range(10_000):
        kept.add(("host", f"route-{i}", "tokenlab"), "gw-01", NOW + i, {0: {1: 1}})
    assert sum(1 for _ in kept.every()) <= 400 < MOST_TRACKS
    assert kept.recent(("host", "route-0", "tokenlab"), NOW) is None, "it says so"
    assert kept.recent(("host", "route-9999", "tokenlab"), NOW + 9_999) == ["gw-01"]


def test_lines_without_a_host_or_with_an_empty_one_are_of_none() -> None:
    windows = Windows(3600)
    windows.add([line(0, None), line(1, ""), line(2, None, "batch"), line(3)], NOW + 3)
    kept = windows.kept.labels
    assert kept.recent(HOST, NOW) == ["gw-01"]
    assert kept.recent(("key_alias", "chat", "tokenlab"), NOW) == ["batch"]


def test_a_long_host_is_truncated() -> None:
    windows = Windows(3600)
    windows.add([line(0, "h" * 100_000)], NOW)
    assert windows.kept.labels.recent(HOST, NOW) == ["h" * 100]


def test_what_is_transferred_of_another_process_is_as_if_read_here() -> None:
    records = [line(i / 10, f"gw-{i % 7}", f"key-{i % 3}") for i in range(600)]
    alone, reader, whole = Windows(3600), Windows(3600), Windows(3600)
    whole.add(records, NOW + 60)
    reader.add(records[:300], NOW + 60)
    alone.add(records[300:], NOW + 60)
    intake = Intake(alone, TopErrors())
    for frame in frames(reader, TopErrors()):
        intake.take(frame)
    for key, value, track in whole.kept.labels.every():
        found = alone.kept.labels.track(key, value)
        assert found is not None
        assert found.last_at == track.last_at
        assert found.parts[0].counts(0, int(NOW)) == track.parts[0].counts(0, int(NOW))
    assert sum(1 for _ in alone.kept.labels.every()) == 7 + 3
