"""Whom the rollback tier blames: pure functions of bins, and what does not change their verdict."""

import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rollout_console.guard.evidence.blame import Tier, Traffic, judge, less, wider
from rollout_console.guard.evidence.e_process import (
    THRESHOLD,
    errors_needed,
    evidence,
    log_ratio,
    strongest_since,
)
from rollout_console.health.windows.bins import Bin
from rollout_gate.file.model import GuardSettings
from tests.benchmarks.guard_orgs import healthy_streams, sick_orgs, sick_route

LIMITS = GuardSettings()
START, SLOT_S = 1_800_000_000, 5
Counts = Sequence[tuple[int, int]]
"""Requests and 5xx among them, by slot."""

COUNTS = st.lists(
    st.integers(0, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=12
)
ORGS = st.dictionaries(st.sampled_from("abcdefgh"), COUNTS, min_size=2, max_size=8)


def one(slot: int, requests: int, errors: int) -> Bin:
    return Bin(START + slot * SLOT_S, requests, gateway=errors, timed=requests - errors)


def traffic_of(orgs: Mapping[str, Counts]) -> Traffic:
    """Return traffic of which the route's bins are as wide as those of its orgs."""
    bins = {
        org: [one(slot, *counts) for slot, counts in enumerate(of_org) if counts[0]]
        for org, of_org in orgs.items()
    }
    route = wider(sorted(b for of_org in bins.values() for b in of_org), SLOT_S)
    with_errors = {org: found for org, found in bins.items() if any(b.gateway for b in found)}
    return Traffic(route, with_errors, sum(map(bool, bins.values())), SLOT_S, START)


def verdicts(traffic: Traffic) -> Tier:
    return judge(LIMITS, traffic, START + 60)


@given(ORGS, st.randoms())
def test_the_order_of_orgs_changes_nothing(orgs: dict[str, Counts], rng: random.Random) -> None:
    shuffled = list(orgs.items())
    rng.shuffle(shuffled)
    assert verdicts(traffic_of(orgs)) == verdicts(traffic_of(dict(shuffled)))


@given(ORGS, st.sampled_from("abcdefgh"))
def test_an_org_that_is_left_out_was_never_there(orgs: dict[str, Counts], out: str) -> None:
    whole = traffic_of(orgs)
    kept = traffic_of({org: counts for org, counts in orgs.items() if org != out})
    own = [one(slot, *counts) for slot, counts in enumerate(orgs.get(out, ())) if counts[0]]
    assert less(whole.bins, [own], START, SLOT_S) == kept.bins


ONE_MORE = {
    **{org: [(1, 0)] for org in "abcd"},
    "e": [(3, 3)],
    "f": [(5, 0), (5, 4)],
    "g": [(4, 1), (12, 8), (4, 0), (12, 0)],
}
"""Of these "f" is condemned, and without it "g", whose evidence has one stream less to beat."""


@given(ORGS)
@example(ONE_MORE)
def test_a_route_is_condemned_for_its_other_orgs_as_if_they_were_alone(
    orgs: dict[str, Counts],
) -> None:
    """Where these are so few that one more is condemned among them, that one leaves as well."""
    found = verdicts(traffic_of(orgs))
    rest = traffic_of({org: of_org for org, of_org in orgs.items() if org not in found.orgs})
    assert traffic_of(orgs).without(found.orgs).bins == rest.bins
    if found.route.kind == "rollback" and rest.seen > 1:
        left = replace(rest, is_rest=bool(found.orgs))
        alone = verdicts(left)
        if alone.orgs:  # by the lower threshold of fewer streams alone
            assert not verdicts(replace(left, seen=traffic_of(orgs).seen)).orgs
        else:
            assert alone.route == found.route


def test_fewer_orgs_condemn_with_less_evidence() -> None:
    """The union bound over the streams: the threshold of an org grows with their number."""
    whole = traffic_of(ONE_MORE)
    assert list(verdicts(whole).orgs) == ["f"]
    assert list(verdicts(whole.without(["f"])).orgs) == ["g"]


@given(ORGS, st.integers(1, 40), st.integers(0, 3))
def test_one_org_never_condemns_a_route_whose_others_are_well(
    orgs: dict[str, Counts], more: int, good: int
) -> None:
    well = {org: [(requests, 0) for requests, _ in counts] for org, counts in orgs.items()}
    well["other"] = [(1, 0)]
    sick = {**well, "sick": [(more + good, more)] * 3}
    found = verdicts(traffic_of(sick))
    assert found.route.kind == "ok"
    assert list(found.orgs) in ([], ["sick"])


def test_an_org_that_explains_the_errors_is_named() -> None:
    orgs = {f"org-{i}": [(10, 0)] * 12 for i in range(11)}
    orgs["org-3"] = [(10, 1)] + [(10, 0)] * 11
    found = verdicts(traffic_of({**orgs, "globex.eu": [(10, 0)] * 6 + [(10, 8)] * 6}))
    assert found.route.kind == "ok"
    (verdict,) = found.orgs.values()
    assert list(found.orgs) == ["globex.eu"]
    assert verdict.reason == "5xx 80% in 30 s, 48 of 60, limit 2%; 100% of 5xx are globex.eu"


def test_several_sick_orgs_are_condemned_each_on_its_own() -> None:
    orgs = {f"org-{i}": [(10, 0)] * 12 for i in range(12)}
    for name in ("org-2", "org-5", "org-9"):
        orgs[name] = [(10, 0)] * 8 + [(10, 5)] * 4
    found = verdicts(traffic_of(orgs))
    assert (found.route.kind, sorted(found.orgs)) == ("ok", ["org-2", "org-5", "org-9"])
    assert "%" in found.orgs["org-2"].reason
    assert " are org-2" not in found.orgs["org-2"].reason, "a third of the errors is not most"


@pytest.mark.parametrize("sick", [7, 12])
def test_what_is_common_is_the_routes(sick: int) -> None:
    orgs = {f"org-{i}": [(10, 0)] * 12 for i in range(12)}
    for i in range(sick):
        orgs[f"org-{i}"] = [(10, 0)] * 8 + [(10, 5 + i % 5)] * 4
    found = verdicts(traffic_of(orgs))
    assert (found.route.kind, found.orgs) == ("rollback", {})


def test_the_rest_is_judged_without_the_sick_org() -> None:
    """One org is dead for long; then the others begin to fail as well."""
    orgs = {f"org-{i}": [(10, 0)] * 10 + [(10, 0), (10, 4)] for i in range(6)}
    dead = [(60, 60)] * 12
    found = verdicts(traffic_of({**orgs, "dead": dead}))
    assert found.route.kind == "rollback"
    assert found.route.reason.startswith("5xx 40% in 5 s, 24 of 60")
    assert list(found.orgs) == ["dead"]


def test_an_org_that_fails_on_both_sides_is_not_blamed_on_one() -> None:
    orgs = {**{f"org-{i}": [(10, 0)] * 12 for i in range(12)}, "bad": [(10, 6)] * 12}
    traffic = traffic_of(orgs)
    both = Traffic(
        traffic.bins, traffic.orgs, traffic.seen, SLOT_S, START,
        previous_of=lambda org: one(0, 100, 60) if org == "bad" else None,
    )  # fmt: skip
    assert list(verdicts(traffic).orgs) == ["bad"]
    assert not verdicts(both).orgs


@pytest.mark.parametrize(
    ("others", "named"), [((100, 0), "; 100% of 5xx are model gpt-5.4"), ((100, 30), "")]
)
def test_a_sick_model_is_named_where_the_others_are_in_order(
    others: tuple[int, int], named: str
) -> None:
    traffic = traffic_of({f"org-{i}": [(10, 0)] * 8 + [(10, 4)] * 4 for i in range(6)})
    models = {"gpt-5.4": one(8, 140, 96), "gpt-5.4-mini": one(8, *others)}
    found = Traffic(
        traffic.bins, traffic.orgs, traffic.seen, SLOT_S, START,
        groups={"model": lambda since: models},
    )  # fmt: skip
    reason = verdicts(found).route.reason
    assert reason.startswith("5xx 40% in 16 s, 96 of 240, limit 2%")
    assert reason.endswith(named)
    assert ("model" in reason) == bool(named)


def test_a_hostile_name_is_shown_as_text() -> None:
    orgs: dict[str, Counts] = {f"org-{i}": [(10, 0)] * 12 for i in range(11)}
    name = "evil\n[routes]\u202e"
    found = verdicts(traffic_of({**orgs, name: [(10, 9)] * 12}))
    assert found.orgs[name].reason.endswith("are evil·[routes]·")


@given(COUNTS, st.sampled_from([THRESHOLD, 12 * THRESHOLD, 10_000 * THRESHOLD]))
def test_fewer_errors_than_needed_never_trip(counts: Counts, threshold: float) -> None:
    found = evidence(counts, 0.02, threshold)
    if found.tripped:
        assert sum(bad for _, bad in counts) >= errors_needed(0.02, threshold)


@given(st.lists(st.tuples(st.integers(1, 20), st.just(0)), max_size=8), st.integers(1, 6))
def test_the_change_point_is_where_errors_began(healthy: list[tuple[int, int]], bad: int) -> None:
    bins = [*healthy, *[(3, 3)] * bad]
    assert strongest_since(bins, 0.02) == len(healthy)
    assert log_ratio(3 * bad, 0, 0.02) > 0 > log_ratio(0, 300, 0.02)


@pytest.mark.slow
@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_one_sick_org_of_twelve_is_rolled_back_alone(seed: int) -> None:
    found = sick_orgs(12, 20, 1, 0.5, seed)
    assert (len(found.delays), found.route, found.healthy) == (1, False, 0)
    assert found.delays[0] < 100


@pytest.mark.slow
def test_a_sick_route_is_condemned_as_soon_as_before() -> None:
    for orgs, per_s, rate in ((12, 20, 1.0), (200, 100, 0.2)):
        new, old = sick_route(orgs, per_s, rate, 1)
        assert new is not None
        assert old is not None
        assert new <= old + per_s


@pytest.mark.slow
def test_healthy_orgs_are_not_condemned() -> None:
    assert healthy_streams(10) == 0


@pytest.mark.parametrize(
    ("seen", "sick", "counts"),
    [
        (2000, 1000, (9, 9)),
        (200, 80, (9, 9)),
        (20, 10, (4, 4)),
        (20, 10, (3, 3)),
        (6, 3, (9, 9)),
        (4, 2, (9, 9)),
        (12, 5, (20, 6)),
    ],
)
def test_errors_of_several_orgs_are_never_nobodys(
    seen: int, sick: int, counts: tuple[int, int]
) -> None:
    """Orgs of few requests cannot be condemned each: together they are the route's then."""
    orgs = {str(i): [counts if i < sick else (counts[0], 0)] for i in range(seen)}
    found = verdicts(traffic_of(orgs))
    assert found.route.kind == "rollback" or len(found.orgs) >= sick // 2
    if found.route.kind != "rollback":
        assert all(verdict.kind == "rollback" for verdict in found.orgs.values())


def test_an_observed_signal_hides_no_other_of_the_same_org() -> None:
    limits = GuardSettings(mode="enforce", max_bad_percent=1.0, modes={"bad": "observe"})
    sick = [Bin(START + slot * SLOT_S, 10, gateway=8, bad=8) for slot in range(4)]
    well = [Bin(START + slot * SLOT_S, 100, timed=100) for slot in range(4)]
    bins = wider(sorted([*sick, *well, *well]), SLOT_S)
    found = judge(limits, Traffic(bins, {"a": sick}, 3, SLOT_S, START), START + 60)
    assert found.orgs["a"].signal == "gateway"
