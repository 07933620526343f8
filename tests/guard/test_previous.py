"""What the previous side's own errors change: an outage of both sides is not blamed on one."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.guard.evidence.blame import Traffic, judge
from rollout_console.guard.evidence.e_process import THRESHOLD, evidence
from rollout_console.guard.evidence.previous import (
    LIVE_FROM,
    MARGIN,
    Previous,
    allowed_rate,
    is_over,
    is_worse,
    weighed,
)
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.evidence.wilson import clean_requests_needed
from rollout_console.guard.job_watch import failing_jobs
from rollout_console.health.windows.bins import Bin
from rollout_console.jobs.outcomes import Ended
from rollout_console.report.incident import Asked, find_incident
from rollout_gate.file.model import GuardSettings
from rollout_gate.file.parse import parse
from tests.benchmarks.guard_previous import Case, guard_until, requests_until
from tests.report.storms import NOON, line, switch_at

START, SECONDS = 1_800_000_000, 120
RATES = st.floats(0.001, 0.5)


@given(st.integers(0, 5_000), RATES)
def test_a_previous_side_without_an_error_raises_a_limit_by_a_point_at_most(
    requests: int, limit: float
) -> None:
    assert allowed_rate(requests, 0, limit) <= limit + MARGIN + 1e-9


@given(st.integers(0, 5_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), RATES)
def test_what_it_allows_covers_its_own_rate_where_that_counts(
    counts: tuple[int, int], limit: float
) -> None:
    requests, errors = counts
    allowed = allowed_rate(requests, errors, limit)
    assert 0.0 <= allowed <= 0.99
    if allowed:
        assert requests >= LIVE_FROM
        assert allowed >= min(errors / requests + MARGIN, 0.99)
    else:
        assert requests < max(LIVE_FROM, clean_requests_needed(limit))
        assert requests < LIVE_FROM or not is_over(requests, errors, limit)


def judged(tokenlab: float, requests: int, errors: int) -> Verdict:
    """Return the verdict on two requests a second that fail at a rate, by the previous counts."""
    drawn = random.Random(3)
    bad = [sum(drawn.random() < tokenlab for _ in range(2)) for _ in range(SECONDS)]
    bins = [Bin(START + at, 2, gateway=one, timed=2 - one) for at, one in enumerate(bad)]
    traffic = Traffic(
        bins, {"acme": bins}, 1, 1, START, Bin(START, requests, gateway=errors, timed=requests)
    )
    return judge(GuardSettings(), traffic, START + SECONDS).route


@pytest.mark.parametrize("requests", [0, 10, 20, 60, 132, 133, 1_000])
def test_what_fails_on_tokenlab_alone_is_detected_with_few_previous_requests(requests: int) -> None:
    verdict = judged(0.1, requests, 0)
    assert verdict.kind == "rollback"
    assert "limit 2%" in verdict.reason or requests >= 133


@pytest.mark.parametrize(("requests", "errors"), [(10, 3), (20, 4), (200, 20)])
def test_what_is_proven_to_fail_on_both_sides_is_not_blamed_on_one(
    requests: int, errors: int
) -> None:
    assert judged(0.1, requests, 0).kind == "rollback"
    assert judged(0.1, requests, errors).kind == "ok"


COUNTS = st.integers(0, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@given(st.lists(COUNTS, min_size=1, max_size=40), st.lists(st.integers(0, 9), max_size=40), RATES)
def test_a_previous_side_without_an_error_changes_nothing_by_its_stretches(
    ours: list[tuple[int, int]], theirs: list[int], limit: float
) -> None:
    """Of whichever stretch: a rollback of what fails on TokenLab alone comes as soon as without."""
    bins = [Bin(START + at, n, gateway=bad, timed=n - bad) for at, (n, bad) in enumerate(ours)]
    healthy = [Bin(START + at, n, timed=n) for at, n in enumerate(theirs) if n]
    side = Previous(Bin(START, sum(theirs), timed=sum(theirs)), lambda: healthy)
    p0 = max(limit, allowed_rate(sum(theirs), 0, limit))
    found = weighed(bins, "gateway", limit, [side], THRESHOLD)
    assert (found.p0, found.found) == (p0, evidence(ours, p0))


@given(COUNTS, COUNTS)
def test_few_requests_are_worse_only_where_they_failed(
    some: tuple[int, int], more: tuple[int, int]
) -> None:
    """A stretch is part of its window, and so it is never worse than itself."""
    every = some[0] + more[0], some[1] + more[1]
    side = Previous(
        Bin(START, every[0], gateway=every[1]),
        lambda: [Bin(START, more[0], gateway=more[1]), Bin(START + 9, some[0], gateway=some[1])],
    )
    allowed = side.allowed_if_worse(START + 9, "gateway")
    assert allowed == 0.0 or some[1] >= 3 or some[0] == some[1] > 0
    assert allowed == 0.0 or is_worse(some, every)
    assert side.allowed_if_worse(START, "gateway") == 0.0


def test_a_raise_is_held_for_failing_jobs_whatever_few_previous_ones_did() -> None:
    ours = Ended(completed=40, failed=10)
    assert failing_jobs(ours, Ended(completed=10), 5.0).startswith("failed jobs 20%, 10 of 50")
    assert failing_jobs(ours, Ended(completed=10, failed=5), 5.0) == ""


def test_a_report_finds_the_onset_that_the_guard_saw(file: Path) -> None:
    """10% of TokenLab's requests fail, and none of 20 on the previous side."""
    lines = [line(NOON + at, side="previous") for at in range(-300, 0, 15)]
    lines += [line(NOON + at) for at in range(-300, 0)]
    drawn = random.Random(5)
    for at in range(200):
        bad = {"status": 503, "error": "overloaded"} if at == 0 or drawn.random() < 0.1 else {}
        lines.append(line(NOON + at, **bad))
    log = file.parent / "access.jsonl"
    log.write_text("".join(json.dumps(one) + "\n" for one in lines))
    switch, now = switch_at(file, NOON + 210), NOON + 300
    rows = switch.history.rows(file, 10)
    asked = Asked(since=NOON - 300)
    found = find_incident(parse(file.read_bytes()), file, switch.history, rows, asked, now)
    assert found.alert is not None
    assert found.alert.words.endswith("limit 2%")


def test_delays_are_those_of_the_limit_alone_where_the_previous_side_is_well() -> None:
    case = Case(3, 0.9, 0.2)
    for seed in range(5):
        alone = requests_until(case, lambda requests, errors: 0.0, seed)
        compared = requests_until(case, lambda n, bad: allowed_rate(n, bad, 0.02), seed)
        assert alone == compared is not None
        assert guard_until(case, seed) == alone


@pytest.mark.parametrize(("share", "most"), [(0.5, 1), (0.9, 8)])
def test_what_fails_on_both_sides_at_once_is_rarely_blamed_on_one(share: float, most: int) -> None:
    """Of ten streams; it is where the previous side has had no request yet."""
    case = Case(3, share, 1.0, 1.0)
    blamed = [seed for seed in range(10) if guard_until(case, seed) is not None]
    assert len(blamed) <= most
