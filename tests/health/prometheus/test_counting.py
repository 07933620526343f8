"""Series of an answer as counts: what each label and value means, and what cannot be used."""

from math import inf

import pytest

from rollout_console.health.log.record import StatusClass
from rollout_console.health.prometheus.answers import Native, Series
from rollout_console.health.prometheus.counting import Counting, above, kind_of
from rollout_console.health.windows.bins import Limits as BinLimits
from rollout_console.health.windows.bins import bin_of, buckets_of
from rollout_console.health.windows.codes import (
    BAD,
    BUCKETS,
    CLASS_OF_KIND,
    FILTERED,
    LATENCY,
    LEFT,
    LENGTH,
    TRUNCATED,
    UNTIMED,
)
from rollout_console.health.windows.quantiles import value_of
from rollout_console.health.windows.summary import summarize

WHO = {"route": "chat", "org": "acme", "side": "tokenlab"}


def counter(value: str = "5", **labels: str) -> Series:
    return Series({**WHO, **labels}, ((100.0, value),))


def counted(name: str, *series: Series, share: float = 1.0, beyond_ms: float = 0.0) -> Counting:
    counting = Counting(beyond_ms)
    counting.add(name, series, share)
    return counting


def only(counting: Counting) -> dict[int, float]:
    (counts,) = counting.amounts.values()
    return counts


@pytest.mark.parametrize(
    ("cls", "outcome", "kind"),
    [
        *((cls.value, "", index) for index, cls in enumerate(StatusClass)),
        ("ok", "filtered", FILTERED),
        ("ok", "length", LENGTH),
        ("ok", "truncated", TRUNCATED),
        ("ok", "empty", BAD),
        ("gateway", "truncated", TRUNCATED),
        ("ok", "abandoned", LEFT),
    ],
)
def test_class_and_outcome_are_a_kind(cls: str, outcome: str, kind: int) -> None:
    assert kind_of(cls, outcome) == kind


@pytest.mark.parametrize(
    ("cls", "meant"),
    [
        ("200", "ok"), ("302", "gateway"), ("401", "auth"), ("402", "balance"), ("404", "contract"),
        ("429", "rate_limit"), ("503", "gateway"), ("2xx", "ok"), ("4xx", "contract"),
        ("5", "gateway"), ("0", "gateway"),
    ],
)  # fmt: skip
def test_a_status_is_a_class(cls: str, meant: str) -> None:
    assert CLASS_OF_KIND[kind_of(cls, "")].value == meant


def test_counts_are_by_route_org_and_side_and_have_no_latency() -> None:
    counting = counted(
        "requests", counter("5", **{"class": "ok"}), counter("2", **{"class": "502"})
    )
    assert list(counting.amounts) == [(100.0, ("chat", "acme", "tokenlab"))]
    found = summarize({code: int(n) for code, n in only(counting).items()}, 10, None)
    assert (found.requests, found.by_class[StatusClass.GATEWAY], found.p95) == (7, 2, None)
    of_bin = bin_of(
        100, {c: int(n) for c, n in only(counting).items()}, buckets_of(BinLimits(1, 1))
    )
    assert of_bin is not None
    assert (of_bin.requests, of_bin.gateway, of_bin.timed, of_bin.slow) == (7, 2, 0, 0)


@pytest.mark.parametrize(
    ("series", "why"),
    [
        (counter(**{"class": "odd"}), "the class 'odd'"),
        (counter(), "no label class"),
        (counter(**{"class": "ok", "outcome": "odd"}), "the outcome 'odd'"),
        (counter(**{"class": "ok", "side": "both"}), "no side tokenlab or previous, but 'both'"),
        (counter(**{"class": "ok", "route": ""}), "no label route"),
        (counter(**{"class": "ok", "org": "x" * 257}), "more than 256 characters"),
        (counter("NaN", **{"class": "ok"}), "the value NaN"),
        (counter("+Inf", **{"class": "ok"}), "the value +Inf"),
        (counter("-3", **{"class": "ok"}), "the value -3"),
        (counter("1e300", **{"class": "ok"}), "the value 1e+300"),
        (counter("many", **{"class": "ok"}), "the value many"),
    ],
)
def test_a_series_that_cannot_be_used_is_said_and_not_counted(series: Series, why: str) -> None:
    counting = counted("requests", counter(**{"class": "ok"}), series)
    assert counting.unusable.lines == 1
    assert why in counting.unusable.why
    assert only(counting) == {UNTIMED: 5.0}


def test_one_bad_value_of_a_series_counts_none_of_it() -> None:
    series = Series({**WHO, "class": "ok"}, ((100.0, "5"), (115.0, "NaN")))
    assert counted("requests", series).amounts == {}


def test_requests_without_an_org_are_of_the_route_alone() -> None:
    counting = counted("requests", Series({"route": "chat", "side": "previous", "class": "ok"},
                                          ((100.0, "5"),)))  # fmt: skip
    assert counting.without_org
    assert list(counting.amounts) == [(100.0, ("chat", None, "previous"))]


def classic(**cumulated: str) -> list[Series]:
    return [
        Series({**WHO, "le": le.replace("_", ".").removeprefix("le")}, ((100.0, text),))
        for le, text in cumulated.items()
    ]


def latencies(counting: Counting, kind: int = LATENCY) -> dict[float, float]:
    """Return the counts by latency in seconds, as they come out of the sketch."""
    return {
        round(value_of(code % BUCKETS) / 1000, 1): amount
        for code, amount in only(counting).items()
        if code // BUCKETS == kind
    }


def test_buckets_of_a_classic_histogram_are_counts_at_their_upper_bounds() -> None:
    found = counted("duration", *classic(le1="10", le2="30", le5="30", **{"le+Inf": "31"}))
    assert latencies(found) == {1.0: 10, 2.0: 20, 9.9: 1}
    assert found.bounds["duration"] == {(0, 1000), (1000, 2000), (2000, 5000), (5000, inf)}
    assert found.unusable.lines == 0


def test_what_is_above_the_last_bound_is_over_the_limit() -> None:
    found = counted("duration", *classic(le1="0", **{"le+Inf": "4"}), beyond_ms=31_500)
    assert list(latencies(found)) == [pytest.approx(31.5, rel=0.02)]


def test_a_bucket_that_is_missing_has_no_more_than_the_one_below() -> None:
    assert latencies(counted("duration", *classic(le2="30", **{"le+Inf": "30"}))) == {2.0: 30}


def test_a_histogram_that_falls_counts_no_negative_number() -> None:
    found = counted("duration", *classic(le1="10", le2="8", le5="12", **{"le+Inf": "12"}))
    assert latencies(found) == {1.0: 10, 5.0: 2}


def test_milliseconds_are_milliseconds() -> None:
    assert latencies(counted("duration_ms", *classic(le1000="10", **{"le+Inf": "10"}))) == {1.0: 10}


@pytest.mark.parametrize(("le", "why"), [("x", "the bound 'x'"), ("-1", "the bound '-1'"),
                                         ("NaN", "the bound 'NaN'")])  # fmt: skip
def test_a_bound_that_is_none_is_said(le: str, why: str) -> None:
    counting = counted("duration", Series({**WHO, "le": le}, ((100.0, "1"),)))
    assert why in counting.unusable.why


def test_a_bucket_twice_is_said() -> None:
    counting = counted("duration", *classic(le1="1"), *classic(le1_0="1"))
    assert "another series has as well" in counting.unusable.why


def native(*buckets: tuple[int, str, str, str]) -> Series:
    return Series(WHO, (), ((100.0, Native("9", buckets)),))


def test_a_native_histogram_counts_its_buckets() -> None:
    found = counted("duration", native((0, "0.9", "1", "3"), (0, "1.8", "2", "6")), share=0.5)
    assert latencies(found) == {1.0: 1.5, 2.0: 3}
    assert found.bounds["duration"] == {(900, 1000), (1800, 2000)}


@pytest.mark.parametrize(
    ("bucket", "why"),
    [((0, "1", "+Inf", "1"), "without bounds"), ((0, "-2", "-1", "1"), "below 0"),
     ((0, "1", "2", "NaN"), "the value NaN")],
)  # fmt: skip
def test_a_native_bucket_that_cannot_be_used_is_said(
    bucket: tuple[int, str, str, str], why: str
) -> None:
    assert why in counted("duration", native(bucket)).unusable.why


def test_a_limit_inside_of_a_bucket_is_judged_above_it() -> None:
    bounds = [(6000, 8000), (8000, 10_000), (10_000, inf)]
    assert above(8000, bounds) == 8000  # a bound: exact
    assert above(7000, bounds) == 8000
    assert above(12_000, bounds) == inf  # nothing is over it for certain
    assert above(9000, [*bounds, (8900, 9700)]) == 10_000  # of several histograms the widest


def test_hostile_names_are_names() -> None:
    org = "\x1b[31m\u202eacme\n"
    counting = counted("requests", counter(**{"class": "ok", "org": org}))
    assert list(counting.amounts) == [(100.0, ("chat", org, "tokenlab"))]


def test_why_a_series_is_unusable_shows_no_control_character() -> None:
    counting = counted("requests", counter(**{"class": "\x1b[31m", "org": "\n" * 9}))
    assert counting.unusable.why.isprintable()
