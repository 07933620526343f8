"""The guard's arithmetic: the numbers of the design, and what follows from them."""

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.guard.eprocess import EProcess
from console.guard.evidence import clean_requests_needed, wilson_lower, wilson_upper
from console.guard.raises import Raises
from console.guard.verdict import Counts, RouteGuard, hold_tier
from console.rollout.model import GuardSettings

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


def test_a_dead_route_trips_in_three_requests() -> None:
    process = EProcess(0.02)
    assert [process.observe(True) >= process.threshold for _ in range(3)] == [False, False, True]


def test_healthy_streams_hardly_ever_trip() -> None:
    rng = random.Random(4)
    tripped = 0
    for _ in range(60):
        process = EProcess(0.02)
        tripped += any(process.observe(rng.random() < 0.01) >= 1e4 for _ in range(4000))
    assert tripped <= 2


def test_a_bad_stream_trips_soon_even_after_a_long_healthy_one() -> None:
    rng = random.Random(5)
    process = EProcess(0.02)
    for _ in range(3000):
        process.observe(rng.random() < 0.005)
    delay = next(i for i in range(500) if process.observe(rng.random() < 0.2) >= 1e4)
    assert delay < 150


@given(st.floats(0.001, 0.89), st.lists(st.booleans(), max_size=300))
def test_the_evidence_is_a_number(p0: float, stream: list[bool]) -> None:
    process = EProcess(p0)
    for error in stream:
        process.observe(error)
    assert 0 <= process.value < float("inf")


def feed(guard: RouteGuard, status: str, times: int, orgs: int = 3, side: str = "tokenlab") -> None:
    for i in range(times):
        guard.observe(f"org-{i % orgs}", side, status, 100.0)


def test_the_floor_holds_the_verdict_back() -> None:
    guard = RouteGuard(LIMITS)
    feed(guard, "gateway", 9)
    assert guard.rollback_verdict().kind == "ok"
    feed(guard, "gateway", 1)
    assert guard.rollback_verdict().kind == "rollback"
    assert guard.rollback_verdict().gate == "gateway"


def test_one_org_of_several_does_not_roll_a_route_back() -> None:
    guard = RouteGuard(LIMITS)
    feed(guard, "ok", 20)
    feed(guard, "gateway", 30, orgs=1)
    assert guard.rollback_verdict().kind == "ok"


def test_a_storm_on_both_sides_is_not_blamed_on_one() -> None:
    guard = RouteGuard(LIMITS)
    for _ in range(100):
        feed(guard, "gateway", 1, orgs=3, side="previous")
        feed(guard, "ok", 1, side="previous")
    for i in range(200):
        guard.observe(f"org-{i % 3}", "tokenlab", "gateway" if i % 2 else "ok", 100.0)
    assert guard.rollback_verdict().kind == "ok"


@pytest.mark.parametrize(("status", "word"), [("auth", "401"), ("balance", "402")])
def test_credentials_and_balance_hold_at_the_third_in_a_row(status: str, word: str) -> None:
    guard = RouteGuard(LIMITS)
    feed(guard, status, 2)
    feed(guard, "ok", 1)
    feed(guard, status, 2)
    assert guard.rollback_verdict().kind == "ok"
    feed(guard, status, 1)
    assert guard.rollback_verdict().kind == "hold"
    assert word in guard.rollback_verdict().reason


def hold(requests: int, errors: int = 0, age: float | None = 1.0, bake_left: float = 0.0) -> str:
    counts = Counts(requests, gateway=errors)
    found = hold_tier(
        LIMITS, recent=counts, evidence=counts, p95_ms=100.0, age_s=age, bake_left_s=bake_left
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


def test_the_window_may_be_sick_while_the_evidence_is_healthy() -> None:
    found = hold_tier(
        LIMITS, recent=Counts(20, gateway=2), evidence=Counts(5000, gateway=2),
        p95_ms=100.0, age_s=1.0,
    )  # fmt: skip
    assert (found.kind, found.reason) == ("hold", "5xx 10%")


def test_a_verdict_tells_of_the_storm_and_not_of_the_good_hours_before() -> None:
    guard = RouteGuard(LIMITS)
    feed(guard, "ok", 5000)
    for i in range(20):
        guard.observe(f"org-{i % 3}", "tokenlab", "gateway" if i % 2 else "ok", 100.0)
    assert guard.rollback_verdict().reason.startswith("5xx 5")


def test_raises() -> None:
    raises = Raises()
    assert raises.newest("chat", "acme") == 0
    raises.note("chat", "acme", 10)
    raises.note("chat", "acme", 5)
    assert raises.newest("chat", "acme") == 10
    assert raises.newest("chat", "other") == 0
    assert raises.newest("chat", None) == 10
    raises.note(None, None, 20)
    assert raises.newest("claude", "acme") == 20
