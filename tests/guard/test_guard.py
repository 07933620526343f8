"""The guard's arithmetic: the numbers of the design, and what follows from them."""

import random
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rollout_console.guard.evidence.ages import Ages
from rollout_console.guard.evidence.blame import Tier, judge
from rollout_console.guard.evidence.e_process import FACTORS, HIGH, evidence
from rollout_console.guard.evidence.org_bins import OrgBins
from rollout_console.guard.evidence.route_traffic import Span, route_traffic
from rollout_console.guard.evidence.verdict import Counts, Verdict, hold_tier
from rollout_console.guard.evidence.wilson import clean_requests_needed, wilson_lower, wilson_upper
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.bins import Bins, Limits
from rollout_console.health.windows.windows import Windows
from rollout_gate.file.model import GuardSettings

LIMITS = GuardSettings(min_balance_usd=Decimal(50))


@pytest.mark.parametrize(("limit", "needed"), [(0.02, 133), (0.01, 268), (0.05, 52)])
def test_clean_requests_needed(limit: float, needed: int) -> None:
    assert clean_requests_needed(limit) == needed
    assert wilson_upper(0, needed) <= limit < wilson_upper(0, needed - 1)


@pytest.mark.parametrize(("errors", "requests"), [(1, 222), (2, 300), (5, 511)])
def test_requests_needed_with_errors(errors: int, requests: int) -> None:
    assert wilson_upper(errors, requests) <= 0.02 < wilson_upper(errors, requests - 1)


@given(st.integers(0, 500), st.integers(1, 500))
def test_bounds_are_in_order(errors: int, more: int) -> None:
    requests = errors + more
    low, high = wilson_lower(errors, requests), wilson_upper(errors, requests)
    assert 0 <= low <= errors / requests <= high <= 1


def tripped(stream: Iterable[bool], per_s: int) -> int | None:
    """Return after how many requests a look each second has seen the evidence, if ever."""
    bins: list[tuple[int, int]] = []
    errors = list(stream)
    for start in range(0, len(errors), per_s):
        one = errors[start : start + per_s]
        bins.append((len(one), sum(one)))
        if evidence(bins[-300:], 0.02).tripped:
            return start + len(one)
    return None


def test_a_dead_route_trips_in_three_requests() -> None:
    assert [evidence([(1, 1)] * n, 0.02).tripped for n in (1, 2, 3)] == [False, False, True]
    assert evidence([(3, 3)], 0.02).tripped


@pytest.mark.slow
@pytest.mark.parametrize("per_s", [1, 10, 100])
def test_healthy_streams_hardly_ever_trip(per_s: int) -> None:
    rng = random.Random(4)
    found = [tripped((rng.random() < 0.01 for _ in range(2000)), per_s) for _ in range(8)]
    assert sum(one is not None for one in found) <= 1


@pytest.mark.parametrize(("per_s", "most"), [(1, 60), (10, 80), (100, 200)])
def test_a_bad_stream_trips_soon_even_after_a_long_healthy_one(per_s: int, most: int) -> None:
    rng = random.Random(5)
    healthy = [rng.random() < 0.005 for _ in range(3000)]
    after = tripped((*healthy, *(rng.random() < 0.2 for _ in range(500))), per_s)
    assert after is not None
    assert after - 3000 <= most


@given(
    st.floats(0.001, 0.89),
    st.lists(st.integers(0, 1000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))),
)
def test_the_evidence_is_a_number(p0: float, bins: list[tuple[int, int]]) -> None:
    found = evidence(bins, p0)
    assert 0 <= found.value < float("inf")
    assert found.errors <= found.requests <= sum(count for count, _ in bins)
    assert (found.since < 0) == (found.requests == 0)


def as_designed(bins: Iterable[tuple[int, int]], p0: float) -> float:
    """The sum of the design's C_q, each capped, and all restarted where none is above 1/J."""
    rates = [q for q in (*(factor * p0 for factor in FACTORS), *HIGH) if p0 < q < 1]
    floor = 1 / len(rates)
    values = [floor] * len(rates)
    for requests, bad in bins:
        values = [
            min(max(c, floor) * (q / p0) ** bad * ((1 - q) / (1 - p0)) ** (requests - bad), 1e5)
            for c, q in zip(values, rates, strict=True)
        ]
        if max(values) <= floor:
            values = [floor] * len(rates)
    return sum(values)


@given(
    st.floats(0.001, 0.89),
    st.lists(st.integers(0, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))),
)
def test_the_evidence_is_that_of_the_design(p0: float, bins: list[tuple[int, int]]) -> None:
    found = evidence(bins, p0)
    if found.since >= 0:
        assert found.value == pytest.approx(as_designed(bins, p0), rel=1e-6)
        assert found.errors == sum(bad for _, bad in bins[found.since :])
        assert found.requests == sum(count for count, _ in bins[found.since :])


def test_a_storm_that_is_over_is_not_believed_in_for_long() -> None:
    storm = [(10, 5)] * 120
    assert evidence([*storm, *[(10, 0)] * 5], 0.02).tripped
    assert not evidence([*storm, *[(10, 0)] * 40], 0.02).tripped


class Route:
    """One route's requests, one after the other, in windows as the guard reads them."""

    def __init__(self, per_s: int = 10) -> None:
        self.windows = Windows()
        self.now = 1_800_000_000.0
        self._step = 1 / per_s
        self._orgs: dict[str, None] = {}
        self.limits = LIMITS

    def feed(self, status: int, times: int, orgs: int = 3, side: str = "tokenlab") -> None:
        for i in range(times):
            self.request(f"org-{i % orgs}", status, side)

    def request(self, org: str, status: int, side: str = "tokenlab", ms: float = 100.0) -> None:
        self.now += self._step
        self._orgs[org] = None
        at = datetime.fromtimestamp(self.now, UTC)
        found: Any = side
        self.windows.add([AccessRecord(at, "chat", org, found, status, ms)], self.now)

    def tier(self) -> Tier:
        begin = self.now - 300
        traffic = route_traffic(
            self.windows, Bins(self.windows), OrgBins(self.windows), "chat", self._orgs,
            Span(begin, begin, self.now, (), {}), Limits(4000, 4000),
        )  # fmt: skip
        return Tier() if traffic is None else judge(self.limits, traffic, self.now)

    def verdict(self) -> Verdict:
        return self.tier().route


def test_the_floor_holds_the_verdict_back() -> None:
    route = Route()
    route.feed(503, 9)
    assert route.verdict().kind == "ok"
    route.feed(503, 1)
    assert (route.verdict().kind, route.verdict().signal) == ("rollback", "gateway")


def test_one_org_of_several_does_not_roll_a_route_back() -> None:
    route = Route()
    route.feed(200, 20)
    route.feed(503, 30, orgs=1)
    assert route.verdict().kind == "ok"
    route.request("org-1", 503)
    assert route.verdict().kind == "rollback"


def test_a_slow_route_is_judged_by_its_answers() -> None:
    route = Route()
    for i in range(60):
        route.request(f"org-{i % 3}", 503 if i % 40 == 0 else 200, ms=9000.0 if i % 2 else 100.0)
    assert route.verdict().reason.startswith("slow 5")
    assert route.verdict().signal == "latency"


def test_a_storm_on_both_sides_is_not_blamed_on_one() -> None:
    route = Route()
    for _ in range(100):
        route.feed(503, 1, orgs=3, side="previous")
        route.feed(200, 1, side="previous")
    for i in range(200):
        route.request(f"org-{i % 3}", 503 if i % 2 else 200)
    assert route.verdict().kind == "ok"


def both(
    route: Route, pairs: int, tokenlab: int = 200, previous: int = 200, first: int = 0,
    ms: float = 100.0,
) -> None:  # fmt: skip
    """Feed pairs of requests, one to each side, of three orgs, from that with a number on."""
    for i in range(first, first + pairs):
        route.request(f"org-{i % 3}", previous, "previous", ms)
        route.request(f"org-{i % 3}", tokenlab, ms=ms)


@pytest.mark.parametrize(("status", "ms"), [(503, 100.0), (0, 100.0), (429, 100.0), (200, 9000.0)])
def test_an_outage_that_begins_on_both_sides_is_not_blamed_on_one(status: int, ms: float) -> None:
    """The healthy minutes before it are in the window of the previous side."""
    route, alone = Route(per_s=4), Route(per_s=4)
    for one in (route, alone):
        both(one, 400)
    for pairs in (1, 2, 7, 20, 90):
        both(route, pairs, status, status, ms=ms)
        assert route.verdict().kind == "ok"
    for i in range(20):
        alone.request(f"org-{i % 3}", 200, "previous")
        alone.request(f"org-{i % 3}", status, ms=ms)
    assert alone.verdict().kind == "rollback"


def test_an_outage_that_begins_within_a_second_is_not_blamed_on_one() -> None:
    """In that second the previous side has answered yet."""
    route = Route(per_s=4)
    both(route, 400)
    route.now = float(ceil(route.now))
    for status, side in (
        (200, "previous"),
        (503, "tokenlab"),
        (503, "tokenlab"),
        (503, "previous"),
    ):
        route.request("org-0", status, side)
    for i in range(8):
        route.request(f"org-{i % 3}", 503, "tokenlab" if i % 4 else "previous")
        assert (route.verdict().kind, list(route.tier().orgs)) == ("ok", [])


def test_an_outage_of_a_part_of_both_sides_is_not_blamed_on_one() -> None:
    route = Route(per_s=4)
    both(route, 400)
    for i in range(80):
        status = 200 if i % 2 else 503
        both(route, 1, status, status, first=i)
        assert route.verdict().kind == "ok"


def test_requests_of_an_org_that_begin_to_fail_on_both_sides_are_not_blamed_on_one() -> None:
    route, alone = Route(per_s=10), Route(per_s=10)
    for one in (route, alone):
        both(one, 600)
        for i in range(240):
            status = 400 if i % 3 == 0 else 200
            one.request(f"org-{i % 3}", status if one is route else 200, "previous")
            one.request(f"org-{i % 3}", status)
    assert (route.verdict().kind, list(route.tier().orgs)) == ("ok", [])
    assert list(alone.tier().orgs) == ["org-0"]


@pytest.mark.parametrize("previous", [(200,), (200, 200), (200, 503), (503, 200)])
def test_few_requests_of_the_previous_side_hold_no_rollback_back(previous: Sequence[int]) -> None:
    """However wide the interval of their rate is: one of them that failed is chance."""

    def errors_until(previous: Sequence[int]) -> int:
        route = Route(per_s=4)
        both(route, 400)
        for i in range(100):
            route.request(f"org-{i % 3}", 503)
            for status in previous if i == 0 else ():
                route.request("org-0", status, "previous")
            if route.verdict().kind == "rollback":
                return i + 1
        return 100

    assert errors_until(previous) == errors_until(()) < 10


def test_what_goes_on_after_an_outage_of_both_sides_is_tokenlabs() -> None:
    route = Route(per_s=4)
    both(route, 400)
    both(route, 60, 503, 503)
    assert route.verdict().kind == "ok"
    both(route, 60, 503, 200)
    assert route.verdict().reason.endswith("(previous)")


@pytest.mark.parametrize("before", [200, 503])
def test_an_outage_of_the_previous_side_that_is_over_hides_nothing(before: int) -> None:
    """Whether TokenLab failed with it then, or was well."""
    route = Route(per_s=4)
    both(route, 20)
    both(route, 240, before, 503)
    assert route.verdict().kind == "ok"
    both(route, 100)
    assert route.verdict().kind == "ok"
    for i in range(60):
        both(route, 1, 200 if i % 5 > 1 else 503, first=i)
    assert route.verdict().kind == "rollback"


def test_an_outage_of_both_sides_after_one_of_the_previous_side_is_not_blamed_on_one() -> None:
    route = Route(per_s=4)
    both(route, 20)
    both(route, 240, 200, 503)
    for i in range(140):
        both(route, 1, 503 if i % 25 == 7 else 200, first=i)
    for i in range(60):
        both(route, 1, 503, 503, first=i)
        assert route.verdict().kind == "ok"


def test_an_outage_of_the_previous_side_that_is_over_hides_no_sick_org() -> None:
    route = Route(per_s=10)
    both(route, 300, 200, 503)
    both(route, 600)
    for i in range(240):
        both(route, 1, first=i)
        if i % 3 == 0:
            route.request("org-0", 503)
    assert list(route.tier().orgs) == ["org-0"]


@pytest.mark.parametrize(
    ("status", "said", "brief"),
    [(401, "refuses the key", "3x auth"), (402, "balance is empty", "3x 402")],
)
def test_refusals_alarm_at_the_third_in_a_row_in_every_mode(
    status: int, said: str, brief: str
) -> None:
    route = Route(per_s=1)
    for times, after in ((2, 200), (2, None)):
        route.feed(status, times)
        if after is not None:
            route.feed(after, 1)
    assert route.verdict().kind == "ok"
    route.feed(status, 1)
    for mode in ("observe", "hold", "enforce"):
        route.limits = replace(LIMITS, mode=mode)
        verdict = route.verdict()
        assert verdict.kind == "rollback"
        assert said in verdict.reason
        assert "3 times in a row" in verdict.reason
        assert verdict.brief == brief


@pytest.mark.parametrize(
    ("status", "brief", "words"),
    [
        (
            401,
            "auth 84%",
            "rollback: TokenLab refuses the key: 401/403 on 84%; "
            "roll back, or give it a working key: 2 in the console",
        ),
        (402, "402 84%", "rollback: TokenLab's balance is empty: 402 on 84%; top up, or roll back"),
    ],
)
def test_refusals_between_the_answers_of_another_key_alarm_too(
    status: int, brief: str, words: str
) -> None:
    route = Route()
    for i in range(100):
        route.request(f"org-{i % 7}", 200 if i % 6 == 5 else status)
    assert route.verdict().advised == words
    assert route.verdict().brief == brief


@pytest.mark.parametrize(("status", "word"), [(401, "401/403"), (403, "401/403"), (402, "402")])
@pytest.mark.parametrize("healthy", [0, 400])
def test_what_both_sides_refuse_is_an_alarm_and_no_rollback(
    status: int, word: str, healthy: int
) -> None:
    """As an egress proxy that answers 403 to everything does."""
    route = Route(per_s=4)
    both(route, healthy)
    for i in range(40):
        both(route, 1, status, status, first=i)
        assert route.tier().route.kind == "ok"
        assert not route.tier().orgs
    found = re.fullmatch(
        rf"{word} (\d+) times in a row, (\d+) of \2 on the previous side",
        route.tier().refused[None].reason,
    )
    assert found is not None
    assert min(int(found[1]), int(found[2])) >= 38
    for _ in range(2):  # where they are answered again, one side is first
        route.request("org-0", 200, "previous")
        assert route.verdict().kind == "ok"
    route.request("org-0", 200, "previous")
    assert route.verdict().kind == "rollback", "the key of TokenLab alone"
    assert not route.tier().refused


@pytest.mark.parametrize("others", [0, 60])
def test_what_both_sides_refuse_of_one_org_is_an_alarm_and_no_rollback(others: int) -> None:
    """Of an org without requests on the previous side those of the others there count."""
    route = Route(per_s=4)
    for i in range(120):
        both(route, 1, first=i % 2)
    for i in range(60):
        route.request("org-2", 403, "previous")
        route.request("org-2", 403)
        if i < others:
            both(route, 1, first=i % 2)
    found = route.tier()
    assert (found.route.kind, list(found.orgs)) == ("ok", [])
    assert list(found.refused) == ["org-2" if others else None]


def test_refusals_of_one_org_alone_are_that_orgs() -> None:
    route = Route(per_s=1)
    route.feed(200, 20, orgs=4)
    for _ in range(7):
        route.request("org-0", 401)
    found = route.tier()
    assert found.route.kind == "ok"
    assert list(found.orgs) == ["org-0"]


def hold(requests: int, errors: int = 0, age: float | None = 1.0, bake_left: float = 0.0) -> str:
    counts = Counts(requests, gateway=errors)
    found = hold_tier(
        LIMITS, recent=counts, seen=counts, p95_ms=100.0, age_s=age, bake_left_s=bake_left
    )
    return f"{found.kind}: {found.reason}"


def test_the_hold_tier_asks_for_evidence() -> None:
    assert hold(133) == "ok: "
    assert hold(41) == "hold: 41 of 133 ok"
    assert hold(200, 20) == "hold: 5xx 10%"
    assert hold(133, 1) == "hold: 5xx 1 of 133, too few to tell"
    assert hold(0, age=None) == "hold: no data"
    assert hold(500, age=40.0) == "hold: no data 40 s"
    assert hold(500, bake_left=200) == "hold: bakes for 3 m"
    assert hold(0, bake_left=200) == "hold: no data since the step"


def test_what_is_over_its_limit_is_not_too_few_to_tell() -> None:
    found = hold_tier(
        LIMITS, recent=Counts(300), p95_ms=100.0, age_s=1.0,
        seen=Counts(608, gateway=35, span_s=900.0),
    )  # fmt: skip
    assert (found.kind, found.reason) == ("hold", "5xx 5.8% in 15 m, 35 of 608")
    assert found.brief == "5xx 35/608", "where a share that is not the window's has no room"


def test_the_window_may_be_sick_while_the_evidence_is_healthy() -> None:
    found = hold_tier(
        LIMITS, recent=Counts(20, gateway=2), seen=Counts(5000, gateway=2),
        p95_ms=100.0, age_s=1.0,
    )  # fmt: skip
    assert (found.kind, found.reason) == ("hold", "5xx 10%")


def test_a_verdict_tells_of_the_storm_and_not_of_the_good_hours_before() -> None:
    route = Route(per_s=100)
    route.feed(200, 5000)
    for i in range(40):
        route.request(f"org-{i % 3}", 503 if i % 2 else 200)
    assert route.verdict().reason.startswith("5xx 5")
    route.now += 70
    assert route.verdict().reason.endswith("none for 70 s")


def test_ages() -> None:
    ages = Ages(known_since=3)
    assert ages.newest_raise("chat", "acme") == 3, "nobody knows of a later one"
    ages.note_raise("chat", "acme", 10)
    ages.note_raise("chat", "acme", 5)
    assert ages.newest_raise("chat", "acme") == 10
    assert ages.newest_raise("chat", "other") == 3
    assert ages.newest_raise("chat", None) == 10
    ages.note_raise(None, None, 20)
    assert ages.newest_raise("claude", "acme") == 20
    ages.reset_evidence("chat", 7)
    ages.reset_evidence(None, 6)
    assert (ages.evidence_since("chat"), ages.evidence_since("claude")) == (7, 6)
