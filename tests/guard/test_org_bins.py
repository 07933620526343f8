"""Bins of single orgs and of routes: what is cached is what a fresh read of the windows says."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rollout_console.guard.evidence.ages import Ages
from rollout_console.guard.evidence.org_bins import OrgBins
from rollout_console.guard.evidence.org_counts import (
    counts_without,
    last_error_at,
    last_request_at,
    models_since,
)
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.bins import Bins, Limits
from rollout_console.health.windows.windows import Windows

NOW = 1_800_000_000.0
SLOW_MS = Limits(1000.0, 10_000)
LINES = st.tuples(
    st.sampled_from("abcd"),
    st.sampled_from([200, 200, 200, 401, 429, 503]),
    st.sampled_from([50.0, 50.0, 4000.0]),
    st.floats(0, 400),
    st.sampled_from(["tokenlab", "tokenlab", "previous"]),
)


def record(
    org: str, status: int, ms: float, ago: float, side: Any, *, now: float = NOW
) -> AccessRecord:
    return AccessRecord(datetime.fromtimestamp(now - ago, UTC), "chat", org, side, status, ms, "m")


@given(st.lists(st.tuples(st.lists(LINES, max_size=12), st.integers(0, 90)), max_size=8))
def test_a_cached_read_is_that_of_a_fresh_reader(steps: list[tuple[list[Any], int]]) -> None:
    windows, now = Windows(), NOW
    cached = OrgBins(windows)
    for lines, further_s in steps:
        records = [record(*line, now=now) for line in lines]
        seen = windows.add(records, now)
        if records:
            cached.changed(seen, min(one.at for one in records))
        now += further_s
        found, fresh = (
            reader.with_errors("chat", "abcd", now - 300, now, SLOW_MS)
            for reader in (cached, OrgBins(windows))
        )
        assert found == fresh
        for org in "abcd":
            every = OrgBins(windows).between("chat", org, "tokenlab", now - 300, now, SLOW_MS)
            has_error = any(one.timed < one.requests or one.slow for one in every)
            assert fresh.get(org) == (every if has_error else None)


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(LINES, st.integers(0, 1500)), max_size=12),
            st.sampled_from([0, 1, 4, 90]),
            st.sampled_from([60, 300, 1200]),
        ),
        max_size=8,
    )
)
def test_a_cached_read_of_a_route_is_that_of_a_fresh_reader(
    steps: list[tuple[list[Any], int, int]],
) -> None:
    windows, other, now = Windows(), Windows(), NOW
    cached = Bins(windows)
    for lines, further_s, window_s in steps:
        records = [record(*line, now=now - earlier_s) for line, earlier_s in lines]
        for one in (windows, other):
            one.add(records, now)
        now += further_s
        for side in ("tokenlab", "previous"):
            found, fresh = (
                reader.between("chat", side, now - window_s, now, SLOW_MS)
                for reader in (cached, Bins(other))
            )
            assert list(found) == list(fresh)


def test_a_new_line_has_the_slots_since_its_own_read_again() -> None:
    windows, key = Windows(), ("chat", None, "tokenlab")
    windows.add([record("a", 200, 50.0, 3.5, "tokenlab")], NOW)
    assert windows.changed_from(key, 1) == NOW - 4
    assert windows.changed_from(key, 5) == NOW - 5
    assert windows.changed_from(key, 1) == float("inf")


@given(st.lists(LINES, max_size=40), st.sets(st.sampled_from("abcd")), st.integers(10, 3000))
def test_counts_without_some_orgs_are_those_of_a_log_without_their_lines(
    lines: list[Any], out: set[str], span_s: int
) -> None:
    whole, kept = Windows(), Windows()
    whole.add([record(*line) for line in lines], NOW)
    kept.add([record(*line) for line in lines if line[0] not in out], NOW)
    assert counts_without(whole, "chat", out, NOW, span_s) == counts_without(
        kept, "chat", (), NOW, span_s
    )
    others = [org for org in "abcd" if org not in out]
    assert last_request_at(whole, "chat", others) == last_request_at(kept, "chat", others)
    if out:
        found = last_error_at(whole, "chat", None, "gateway", 300, NOW, out)
        alone = last_error_at(kept, "chat", None, "gateway", 300, NOW, {"nobody"})
        assert found == alone


def test_the_requests_of_each_model() -> None:
    windows = Windows()
    windows.add(
        [record("a", 503, 50.0, 10, "tokenlab"), record("b", 200, 50.0, 5, "tokenlab")], NOW
    )
    (found,) = models_since(windows, "chat", NOW - 60, NOW, SLOW_MS).values()
    assert (found.requests, found.gateway) == (2, 1)
    assert models_since(windows, "other", NOW - 60, NOW, SLOW_MS) == {}


def test_evidence_against_an_org_is_reset_by_itself() -> None:
    ages = Ages()
    ages.reset_evidence("chat", 5, "acme")
    ages.reset_evidence("chat", 3, "acme")
    ages.reset_evidence("chat", 9, "globex")
    assert ages.orgs_reset("chat", 4) == {"acme": 5, "globex": 9}
    assert ages.orgs_reset("chat", 5) == {"globex": 9}
    assert ages.orgs_reset("claude", 0) == {}
    assert ages.evidence_since("chat") == float("-inf")
