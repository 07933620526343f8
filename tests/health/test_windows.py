"""Windows and quantiles."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.health.log.record import AccessRecord, StatusClass, classify
from rollout_console.health.windows.quantiles import RELATIVE_ERROR, bucket_of, quantile, value_of
from rollout_console.health.windows.windows import Windows

NOW = 1_795_000_000.0


def record(
    ago: float, status: int = 200, latency: float = 100.0, org: str = "acme"
) -> AccessRecord:
    return AccessRecord(
        datetime.fromtimestamp(NOW - ago, UTC), "chat", org, "tokenlab", status, latency
    )


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (200, "ok"), (304, "ok"), (400, "contract"), (404, "contract"), (413, "contract"),
        (422, "contract"), (401, "auth"), (403, "auth"), (402, "balance"), (429, "rate_limit"),
        (500, "gateway"), (503, "gateway"), (0, "gateway"), (302, "gateway"), (308, "gateway"),
    ],
)  # fmt: skip
def test_classes(status: int, cls: str) -> None:
    assert classify(status) is StatusClass(cls)


def test_a_summary_counts_the_window_alone() -> None:
    windows = Windows()
    for ago, status in ((1, 200), (2, 503), (3, 429), (4, 404), (59, 200), (90, 503)):
        windows.add([record(ago, status)], NOW)
    found = windows.summary(NOW, 60, "chat", "acme")
    assert (found.requests, found.percent_5xx, found.percent_4xx, found.percent_429) == (
        5, 20.0, 20.0, 20.0,
    )  # fmt: skip
    assert windows.summary(NOW, 120, "chat").requests == 6
    assert windows.summary(NOW, 60, "chat", "hooli").requests == 0
    assert windows.summary(NOW, 60, "chat", "acme", "previous").p95 is None
    assert windows.last_seen("chat", "acme", "tokenlab") == pytest.approx(NOW - 1, abs=0.01)


def test_a_summary_of_the_same_time_counts_what_was_added_since() -> None:
    windows = Windows()
    for count in (1, 2, 3):
        windows.add([record(1, 503 if count == 3 else 200)], NOW)
        for _ in range(2):  # the second is memoized
            assert windows.summary(NOW, 60, "chat").requests == count
            assert windows.summary(NOW, 60).requests == count
    assert windows.summary(NOW, 60, "chat").by_class[StatusClass.GATEWAY] == 1
    assert windows.summary(NOW, 60, "chat", side="previous").requests == 0
    assert windows.summary(NOW, 0.5, "chat").requests == 0
    assert windows.summary(NOW + 120, 60, "chat").requests == 0
    assert windows.summary(NOW, 60, "chat").requests == 3


@pytest.mark.parametrize("ago", [1, -1, 100, 100_000])
def test_an_operation_is_seen_and_judges_nothing(ago: float) -> None:
    windows, other = Windows(), Windows()
    asked = record(ago, 503)
    asked.operation, asked.model = "embeddings", "e"
    assert dict(windows.add([asked, record(5)], NOW)).keys() == {("chat", "acme", "tokenlab")}
    other.add([record(5)], NOW)
    for route, org in ((None, None), ("chat", None), ("chat", "acme")):
        found, alone = (one.summary(NOW, 86_400, route, org) for one in (windows, other))
        assert (found.requests, found.by_class, found.p95) == (1, alone.by_class, alone.p95)
        assert windows.last_seen(route, org, "tokenlab") == pytest.approx(
            min(max(NOW - ago, NOW - 5), NOW), abs=0.01
        )
    assert windows.models(NOW, 3600, "chat").keys() == other.models(NOW, 3600, "chat").keys()
    assert (windows.late, windows.skewed) == (0, 0)


def test_skewed_and_late_lines_are_counted() -> None:
    windows = Windows(horizon_s=60)
    windows.add([record(-100)], NOW)
    windows.add([record(1000)], NOW)
    assert (windows.skewed, windows.late) == (1, 1)
    assert windows.summary(NOW, 60).requests == 1


def test_lines_in_any_order_count_the_same() -> None:
    rng = random.Random(1)
    records = [record(rng.uniform(0, 250), rng.choice((200, 500))) for _ in range(300)]
    one, other = Windows(), Windows()
    for r in records:
        one.add([r], NOW)
    for r in sorted(records, key=lambda r: r.ts):
        other.add([r], NOW)
    assert one.summary(NOW, 100) == other.summary(NOW, 100)
    assert one.series(NOW, 250, 50, "5xx") == other.series(NOW, 250, 50, "5xx")


@given(st.lists(st.tuples(st.floats(-5, 400), st.sampled_from((200, 404, 429, 503, 0)),
                          st.floats(0.1, 1e5), st.sampled_from("abc")), max_size=60),
       st.integers(1, 60))  # fmt: skip
def test_many_at_once_count_as_one_by_one(
    given_records: list[tuple[float, int, float, str]], size: int
) -> None:
    records = [record(*one) for one in given_records]
    one, other = Windows(), Windows()
    for r in records:
        one.add([r], NOW)
    for start in range(0, len(records), size):
        other.add(records[start : start + size], NOW)
    assert (one.skewed, one.late) == (other.skewed, other.late)
    for org in (None, "a", "b", "c"):
        first, second = (w.summary(NOW, 120, "chat", org) for w in (one, other))
        assert first == second
    for metric in ("4xx", "5xx", "429", "rate", "p50", "p95"):
        assert one.series(NOW, 300, 60, metric) == other.series(NOW, 300, 60, metric)


def test_a_series_has_gaps_where_nothing_was() -> None:
    windows = Windows()
    windows.add([record(10, 500)], NOW)
    series = windows.series(NOW, 100, 10, "5xx")
    assert [value for value in series if value is not None] == [100.0]
    assert len(series) == 10


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_its_error(values: list[float], q: float) -> None:
    counts: dict[int, int] = {}
    for value in values:
        counts[bucket_of(value)] = counts.get(bucket_of(value), 0) + 1
    exact = sorted(values)[int(q * (len(values) - 1))]
    found = quantile(counts, q)
    assert found is not None
    assert abs(found - exact) <= exact * RELATIVE_ERROR * 1.001


def test_odd_latencies_have_a_bucket() -> None:
    for value in (-1.0, 0.0, float("nan"), float("inf"), 1e300):
        assert value_of(bucket_of(value)) > 0
