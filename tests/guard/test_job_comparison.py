"""The share of refused jobs against the previous side: found where it is higher, else silent."""

import random
from collections.abc import Iterator, Sequence
from math import inf

import pytest

from rollout_console.guard.evidence.job_comparison import refused_jobs
from rollout_console.guard.evidence.route_traffic import Span
from rollout_console.guard.evidence.verdict import OK, Verdict
from rollout_console.jobs.outcomes import Fate, Outcome, SideJobs

NOW = 1_800_000_000.0
HOUR_S = 3_600.0
LOOKS_S = 120.0


class Planned:
    """A job as it will turn out, and as it looks before that."""

    def __init__(self, side: str, org: str, sent_at: float, fate: Fate, took: float) -> None:
        self._side, self._org, self._fate = side, org, fate
        self.sent_at, self._told_at = sent_at, sent_at + took

    def at(self, now: float) -> Outcome:
        """Return its outcome as it is known at a time."""
        fate: Fate = self._fate if self._told_at <= now else "open"
        told = min(self._told_at, now)
        return Outcome("video", self._side, self._org, self.sent_at, fate, told)


def planned(
    rng: random.Random, side: str, share: float, a_minute: float, refused_s: float, asset_s: float
) -> Iterator[Planned]:
    """Yield the jobs of an hour, of five orgs; 3% fail for other reasons."""
    at = NOW - HOUR_S
    while (at := at + rng.expovariate(a_minute / 60)) < NOW:
        org, took = f"org-{rng.randrange(5)}", asset_s * rng.uniform(0.8, 1.2)
        if rng.random() < share:
            yield Planned(side, org, at, "refused", refused_s)
        else:
            yield Planned(side, org, at, "failed" if rng.random() < 0.03 else "completed", took)


def looked(ours: Sequence[Planned], theirs: Sequence[Planned]) -> Iterator[Verdict]:
    """Yield what is said every two minutes of the hour, of what is known by then."""
    now = NOW - HOUR_S
    while (now := now + LOOKS_S) <= NOW:
        here, there = (
            SideJobs([one.at(now) for one in some if one.sent_at <= now]) for some in (ours, theirs)
        )
        yield refused_jobs(here, there, Span(-inf, -inf, now, (), {}))


def first_named(
    seed: int,
    ours: float,
    theirs: float,
    *,
    a_minute: float = 6.0,
    previous_refused_s: float = 2.0,
    asset_s: float = 120.0,
) -> Verdict:
    """Return the first verdict of an hour that is not ok; ok where all are."""
    rng = random.Random(seed)
    sides = [
        [*planned(rng, "tokenlab", ours, a_minute, 2.0, asset_s)],
        [*planned(rng, "previous", theirs, a_minute, previous_refused_s, asset_s)],
    ]
    return next((one for one in looked(*sides) if one != OK), OK)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_as_many_refusals_on_both_sides_are_no_alarm(share: float) -> None:
    assert [first_named(seed, share, share) for seed in range(25)] == [OK] * 25


def test_refusals_that_are_told_sooner_than_the_previous_sides_are_no_alarm() -> None:
    """TokenLab looks at the prompt at once, and the previous side at the video, ten minutes on."""
    found = [
        first_named(seed, 0.3, 0.3, a_minute=20, previous_refused_s=620, asset_s=600)
        for seed in range(5)
    ]
    assert found == [OK] * 5


def test_fewer_refusals_than_before_are_no_trouble() -> None:
    assert [first_named(seed, 0.05, 0.3) for seed in range(10)] == [OK] * 10


def test_a_share_of_30_percent_against_5_is_named_within_the_hour() -> None:
    found = [first_named(seed, 0.3, 0.05) for seed in range(20)]
    assert {(one.kind, one.signal) for one in found} == {("hold", "refused")}


def jobs(side: str, refused_of_10: int, since: float = HOUR_S, org: str = "acme") -> SideJobs:
    made = [
        Outcome(
            "video", side, org, NOW - since + 6 * i,
            "refused" if i % 10 < refused_of_10 else "completed", NOW - since + 6 * i + 60,
        )
        for i in range(int(since // 6))
    ]  # fmt: skip
    return SideJobs(made)


def test_the_shares_of_both_sides_are_in_its_words() -> None:
    span = Span(-inf, -inf, NOW, (), {})
    found = refused_jobs(jobs("tokenlab", 3), jobs("previous", 1), span)
    assert found.words == "hold: refused 30% of jobs, previous 10%"
    assert refused_jobs(jobs("tokenlab", 3), SideJobs(), span) == OK, "nothing to compare with"
    assert refused_jobs(SideJobs(), jobs("previous", 3), span) == OK


def test_evidence_is_of_the_shares_in_force_alone() -> None:
    ours, theirs = jobs("tokenlab", 5), jobs("previous", 0)
    of_all = Span(-inf, -inf, NOW, (), {})
    assert refused_jobs(ours, theirs, of_all).signal == "refused"
    assert refused_jobs(ours, theirs, of_all._replace(since=NOW - 30)) == OK, "given back just now"
    assert refused_jobs(ours, theirs, of_all._replace(reset={"acme": NOW - 30})) == OK
    assert refused_jobs(ours, theirs, of_all._replace(gone=("acme",))) == OK, "rolled back"


def test_what_both_sides_never_had_at_the_same_time_is_not_compared() -> None:
    later = SideJobs([one for one in jobs("tokenlab", 5).sent if one.sent_at > NOW - 1_500])
    before = SideJobs([one for one in jobs("previous", 0).sent if one.sent_at < NOW - 2_100])
    assert refused_jobs(later, before, Span(-inf, -inf, NOW, (), {})) == OK
