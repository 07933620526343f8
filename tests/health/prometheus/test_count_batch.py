"""Counts that were made elsewhere, in the windows of the access log."""

from rollout_console.guard.evidence.org_bins import OrgBins
from rollout_console.health.windows.bins import Bins, Limits
from rollout_console.health.windows.codes import BUCKETS, GATEWAY, LATENCY, LEFT, OK, UNTIMED
from rollout_console.health.windows.count_batch import CountBatch, Counted
from rollout_console.health.windows.quantiles import bucket_of
from rollout_console.health.windows.windows import Windows

NOW = 1_800_000_000.0
GOOD, BAD = OK * BUCKETS + UNTIMED, GATEWAY * BUCKETS + UNTIMED
LIMITS = Limits(1000, 1000)


def counted(at: float, counts: dict[int, int], org: str | None = "acme") -> Counted:
    return Counted("chat", org, "tokenlab", NOW + at, NOW + at + 30, counts)


def filled(*found: Counted) -> Windows:
    windows = Windows()
    windows.take(CountBatch(windows.kept.levels, NOW, found))
    return windows


def test_counts_are_of_the_route_the_org_and_all() -> None:
    windows = filled(
        counted(-60, {GOOD: 70_000, BAD: 3}), counted(-60, {GOOD: 5}, "globex"),
        counted(-45, {GOOD: 7}, None),
    )  # fmt: skip
    for route, org, requests in (
        ("chat", None, 70_015), ("chat", "acme", 70_003), ("chat", "globex", 5),
        (None, None, 70_015),
    ):  # fmt: skip
        assert windows.summary(NOW, 300, route, org).requests == requests
    assert windows.last_seen("chat", "acme", "tokenlab") == NOW - 30
    assert windows.last_seen("chat", None, "tokenlab") == NOW - 15
    assert windows.summary(NOW, 50, "chat").requests == 7


def test_older_counts_are_in_the_coarser_slots_alone() -> None:
    windows = filled(counted(-7200, {GOOD: 9}), counted(-100_000, {GOOD: 1}))
    assert windows.summary(NOW, 3600, "chat").requests == 0
    assert windows.summary(NOW, 86_400, "chat").requests == 9
    assert windows.summary(NOW, 86_400, "chat", "acme").requests == 9


def test_what_comes_late_is_added_to_its_slot_and_to_the_bins_that_were_read() -> None:
    windows = filled(counted(-60, {GOOD: 10}))
    bins, org_bins = Bins(windows), OrgBins(windows)
    (before,) = bins.between("chat", "tokenlab", NOW - 300, NOW, LIMITS)
    assert (before.requests, before.gateway) == (10, 0)
    assert org_bins.with_errors("chat", ["acme"], NOW - 300, NOW, LIMITS) == {}
    late = [counted(-60, {BAD: 4})]
    org_bins.changed(windows.take(CountBatch(windows.kept.levels, NOW, late)), late[0].at)
    (after,) = bins.between("chat", "tokenlab", NOW - 300, NOW, LIMITS)
    assert (after.requests, after.gateway) == (14, 4)
    (of_org,) = org_bins.with_errors("chat", ["acme"], NOW - 300, NOW, LIMITS)["acme"]
    assert of_org.gateway == 4


def test_latencies_are_counted_beside_their_requests() -> None:
    slow, quick = (LATENCY * BUCKETS + bucket_of(ms) for ms in (2000, 500))
    windows = filled(
        counted(-60, {GOOD: 10, BAD: 2, LEFT * BUCKETS + UNTIMED: 3, slow: 4, quick: 6})
    )
    (one,) = Bins(windows).between("chat", "tokenlab", NOW - 300, NOW, LIMITS)
    assert (one.requests, one.timed, one.slow) == (12, 10, 4)
    found = windows.summary(NOW, 300, "chat")
    assert (found.requests, found.judged) == (15, 12)
    assert found.p50 is not None
    assert 490 < found.p50 < 510
    assert found.p99 is not None
    assert 1960 < found.p99 < 2040
