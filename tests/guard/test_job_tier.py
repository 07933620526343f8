"""What the rollback tier says of async jobs, by how they end."""

from collections.abc import Iterable
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.guard.evidence.blame import Tier
from rollout_console.guard.evidence.job_tier import job_tier
from rollout_console.guard.evidence.route_traffic import Span
from rollout_console.jobs.outcomes import Fate, Outcome, SideJobs, is_of_the_request, outcomes
from rollout_gate.file.model import GuardSettings

NOW = 1_800_000_000.0
LIMITS = GuardSettings(mode="enforce")


def job(ago: float, fate: Fate = "completed", org: str = "acme", took: float = 60.0) -> Outcome:
    """Return a job that was sent so many seconds ago, and whose fate was told ``took`` later."""
    at = NOW if fate == "open" else min(NOW - ago + took, NOW)
    return Outcome("video", "tokenlab", org, NOW - ago, fate, at)


def tier(
    jobs: Iterable[Outcome], previous: Iterable[Outcome] = (), limits: GuardSettings = LIMITS,
    **span: object,
) -> Tier:  # fmt: skip
    known = {"begin": NOW - 3_600, "since": NOW - 3_600, "now": NOW, "gone": (), "reset": {}}
    ours, theirs = (sorted(some, key=lambda one: one.sent_at) for some in (jobs, previous))
    where = Span(**{**known, **span})  # type: ignore[arg-type]
    return job_tier(limits, SideJobs(ours), SideJobs(theirs), where, NOW)


def test_failures_that_are_known_before_any_asset_are_no_evidence() -> None:
    """1% of 600 jobs fail at once, and the first asset comes after two minutes."""
    fresh = [job(i / 10, "failed" if i % 100 == 0 else "open", took=1.0) for i in range(600)]
    assert tier(fresh) == Tier()


def test_jobs_that_fail_late_are_not_hidden_by_the_newest_that_are_open() -> None:
    failed = [job(300 + i, "failed", took=300.0) for i in range(40)]
    fresh = [job(i, "open") for i in range(295)]
    found = tier([*failed, *fresh]).route
    assert (found.kind, found.signal, found.brief) == ("rollback", "jobs", "jobs 100%")
    assert found.reason == "jobs failed 100% in 41 s, 40 of 40, limit 5%"
    assert found.last_error_at == NOW, "when it was told, not when it was sent"
    well = [job(100 + i) for i in range(300)]
    assert tier([*(job(900 + i, "failed") for i in range(40)), *well]).route.kind == "ok", "over"


def test_what_fails_on_the_previous_side_as_well_is_not_tokenlabs_fault() -> None:
    ours = [job(60 + i * 5, "failed" if i % 2 else "completed") for i in range(60)]
    well = [job(60 + i * 5) for i in range(60)]
    assert tier(ours, well).route.kind == "rollback"
    assert tier(ours, ours).route.kind == "ok"
    before = [job(3_500 + i) for i in range(2_000)]
    now_sick = [job(60 + i * 5, "failed" if i % 2 else "completed") for i in range(60)]
    assert tier(ours, [*before, *now_sick], begin=-inf).route.kind == "ok", "since it fails as well"


def test_one_sick_org_among_well_ones_is_condemned_alone() -> None:
    orgs = [f"org-{i}" for i in range(12)]
    jobs = [job(60 + i, "failed" if i % 12 == 3 else "completed", orgs[i % 12]) for i in range(300)]
    found = tier(jobs)
    assert found.route.kind == "ok"
    assert {*found.orgs} == {"org-3"}
    reason = found.orgs["org-3"].reason
    assert reason == "jobs failed 100% in 5 m, 25 of 25, limit 5%; 100% of failed jobs are org-3"
    assert tier(jobs, gone=("org-3",)) == Tier(), "it is rolled back"
    assert tier(jobs, reset={"org-3": NOW - 30}) == Tier(), "its share was changed since"


def test_a_late_job_counts_until_it_ends() -> None:
    well = [job(60 + i) for i in range(30)]
    stuck = [job(1_860 + i, "late", took=1_800.0) for i in range(12)]
    found = tier([*stuck, *well[:3]]).route
    assert found.reason == "jobs late 80% in 30 m, 12 of 15, limit 5%, none for 60 s"
    done = [job(1_860 + i, took=1_850.0) for i in range(12)]
    assert tier([*done, *well]) == Tier()
    both = [*stuck[:6], *(job(1_900 + i, "failed") for i in range(6))]
    assert tier(both).route.reason.startswith("jobs failed or late 100% in 46 s, 12 of 12")


def test_only_jobs_created_since_traffic_came_back_are_evidence() -> None:
    """What was in flight at the rollback may fail after the resume."""
    old = [job(900 + i, "failed", took=850.0) for i in range(30)]
    assert tier(old).route.kind == "rollback"
    assert tier(old, since=NOW - 600) == Tier()


def test_what_was_refused_for_what_it_asks_is_no_failure() -> None:
    assert tier([job(60 + i, "refused") for i in range(60)]) == Tier()


def test_assets_that_come_late_are_a_signal_with_a_limit_of_their_own() -> None:
    slow = [job(1_000 + i, took=700.0 if i % 2 else 200.0) for i in range(60)]
    assert tier(slow) == Tier()
    limits = GuardSettings(mode="enforce", max_asset_p95_s=600)
    found = tier(slow, limits=limits).route
    assert (found.kind, found.signal) == ("rollback", "asset")
    assert found.reason.startswith("slow assets 50% in 61 s, 30 of 60, limit 5%")
    open_too_long = [job(700 + i, "open") for i in range(20)]
    assert tier(open_too_long, limits=limits).route.signal == "asset", "before there is any asset"
    assert tier([job(500 + i, "open") for i in range(20)], limits=limits) == Tier()


@pytest.mark.parametrize(
    ("code", "own"),
    [
        ("invalid_prompt", True), ("content_policy_violation", True), ("moderation_blocked", True),
        ("InputTextSensitiveContentDetected", True), ("SAFETY.INPUT.TEXT", True),
        ("payload_too_large", True), ("generation_failed", False), ("timeout_error", False),
        ("async_task_not_found", False), ("async_task_mapping_invalid", False),
        ("no_contract_compatible_route", False), ("request_shape_channel_mismatch", False),
        ("invalid_api_key", False), ("insufficient_balance", False), ("rate_limit_exceeded", False),
        ("invalid_upstream_response", False), ("model_not_found", False), ("", False),
        (None, False),
    ],
)  # fmt: skip
def test_which_failures_are_of_the_request_itself(code: str | None, own: bool) -> None:
    assert is_of_the_request(code) is own


def test_how_a_row_of_the_ledger_turns_out() -> None:
    def row(
        state: str, ago: float, ended: object = None, seen: object = None, error: object = None
    ) -> tuple[object, ...]:
        return ("video", "tokenlab", "acme", NOW - ago, state, ended, seen, error)

    rows = [
        row("completed", 100, NOW - 40), row("failed", 100, NOW, error="invalid_prompt"),
        row("failed", 100, NOW, error="generation_failed"), row("cancelled", 100, NOW),
        row("open", 100, seen=NOW), row("open", 2_000, seen=NOW - 100),
        row("open", 2_000, seen=NOW - 1_900), row("open", 2_000), row("completed", 100, inf),
        row("completed", 100, b"\xff"), ("video",), row("completed", 100, None),
    ]  # fmt: skip
    found = outcomes(rows, {"video": 1_800}, NOW)
    assert [(one.fate, one.at - NOW) for one in found] == [
        ("completed", -40), ("refused", 0), ("failed", 0), ("open", 0), ("late", -200),
    ]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.sampled_from(("open", "completed", "failed", "late")), max_size=80))
def test_an_open_job_is_never_worse_than_a_failed_one(fates: list[Fate]) -> None:
    """Evidence only grows as failures become known, which is why no look is too early."""
    jobs = [job(600 - i, fate) for i, fate in enumerate(fates)]
    told = [job(600 - i, "failed" if fate == "open" else fate) for i, fate in enumerate(fates)]
    if tier(jobs).route.kind == "rollback":
        assert tier(told).route.kind == "rollback"
