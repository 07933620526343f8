"""The rollback tier over async jobs: the e-process and the blame of requests, on how jobs end.

A job is in the bin of its create, and counts as good while it is open: evidence only grows as
failures become known, so that no alarm comes of failures that are known sooner than assets. The
newest jobs are mostly open, and would hide those that have failed late: the tier is evaluated as of
before these as well. Each of both is the test of a sequence of jobs as it was sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import inf

from msgspec.structs import replace

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, Tier, Traffic, judge, total
from rollout_console.guard.evidence.route_traffic import Span
from rollout_console.guard.evidence.tiers import stronger
from rollout_console.guard.evidence.verdict import JOB_SIGNALS, WORDS, Verdict
from rollout_console.guard.evidence.wilson import wilson_lower, wilson_upper
from rollout_console.health.windows.bins import Bin
from rollout_console.jobs.outcomes import Outcome, SideJobs
from rollout_gate.file.model import GuardSettings

WIDTH_S = 5
"""The width of a bin in seconds."""
RECENT_S = (3_600.0, 900.0)
"""Stretches of the previous side in which it may be worse than over all, in seconds."""


def job_tier(
    limits: GuardSettings, ours: SideJobs, theirs: SideJobs, span: Span, now: float
) -> Tier:
    """Return which orgs of a route ask for a rollback by their jobs, and whether the route does.

    Of ``span`` counts since when evidence counts, by the time of a job's create, and for which
    orgs.
    """
    slow_s = limits.max_asset_p95_s or inf
    jobs = [one for one in ours.sent if _counts(one, span)]
    if max(sum(one.is_bad for one in jobs), sum(_is_slow(one, slow_s) for one in jobs)) < (
        FLOOR_ERRORS
    ):
        return Tier()
    previous = [one for one in theirs.sent if one.sent_at >= span.begin and one.fate != "open"]
    found = Tier()
    for some in (jobs[: _decided(jobs)], jobs):
        if some:
            traffic = _traffic(some, previous, slow_s, now)
            found = stronger(limits, found, judge(limits, traffic, now))
    return _worded(found, jobs)


def _counts(one: Outcome, span: Span) -> bool:
    return one.sent_at >= max(span.since, span.reset.get(one.org, -inf)) and one.org not in (
        span.gone
    )


def _decided(jobs: Sequence[Outcome]) -> int:
    """Return how many of the jobs come before the newest ones that are mostly open.

    It is where the open jobs outnumber the others by most, counted from the newest back.
    """
    most = lead = 0
    found = len(jobs)
    for at in range(len(jobs) - 1, -1, -1):
        lead += 1 if jobs[at].fate == "open" else -1
        if lead > most:
            most, found = lead, at
    return found


def _traffic(
    jobs: Sequence[Outcome], previous: Sequence[Outcome], slow_s: float, now: float
) -> Traffic:
    orgs: dict[str, list[Outcome]] = {}
    for one in jobs:
        orgs.setdefault(one.org, []).append(one)
    bad = {
        org: some
        for org, some in orgs.items()
        if any(one.is_bad or _is_slow(one, slow_s) for one in some)
    }
    of_previous: dict[str, list[Outcome]] = {}
    for one in previous:
        of_previous.setdefault(one.org, []).append(one)

    def told_at(signal: str, org: str) -> float:
        errors = (one for one in bad.get(org, ()) if _is_error(one, signal, slow_s))
        return max((one.at for one in errors), default=-inf)

    return Traffic(
        bins=_bins(jobs, slow_s),
        orgs={org: _bins(some, slow_s) for org, some in bad.items()},
        seen=len(orgs),
        width_s=WIDTH_S,
        begin=_slot(jobs[0].sent_at),
        previous=_worst(previous, slow_s, now),
        previous_of=lambda org: _worst(of_previous.get(org, ()), slow_s, now),
        signals=JOB_SIGNALS,
        told_at=told_at,
    )


def _slot(at: float) -> int:
    return int(at // WIDTH_S) * WIDTH_S


def _bins(jobs: Iterable[Outcome], slow_s: float) -> list[Bin]:
    """Return the bins of jobs, the earliest sent first."""
    return [_bin(at, some, slow_s) for at, some in groupby(jobs, lambda one: _slot(one.sent_at))]


def _bin(at: int, jobs: Iterable[Outcome], slow_s: float) -> Bin:
    requests = contract = gateway = timed = slow = 0
    for one in jobs:
        requests += 1
        contract += one.fate == "refused"
        gateway += one.is_bad
        is_slow = _is_slow(one, slow_s)
        timed += one.fate == "completed" or is_slow
        slow += is_slow
    return Bin(at, requests, contract=contract, gateway=gateway, timed=timed, slow=slow)


def _is_slow(one: Outcome, slow_s: float) -> bool:
    """Return whether its asset came later than a limit, or an answer told that it was not there."""
    return one.fate in ("completed", "open", "late") and one.seconds > slow_s


def _is_error(one: Outcome, signal: str, slow_s: float) -> bool:
    return one.is_bad if signal == "jobs" else _is_slow(one, slow_s)


def _worst(previous: Sequence[Outcome], slow_s: float, now: float) -> Bin | None:
    """Return the counts of the previous side: of a recent stretch, where that is proven worse."""
    if not previous:
        return None
    found = total(_bins(previous, slow_s))
    for recent_s in RECENT_S:
        some = [one for one in previous if one.at >= now - recent_s]
        if not some:
            continue
        recent = _bin(_slot(some[0].sent_at), some, slow_s)
        for signal in JOB_SIGNALS:
            count, errors = recent.errors(signal)
            every, of_all = found.errors(signal)
            if wilson_lower(errors, count) > wilson_upper(of_all, every):
                found = recent
                break
    return found


def _worded(tier: Tier, jobs: Sequence[Outcome]) -> Tier:
    """Name what the jobs did that a verdict is about: failed, late, or both."""

    def said(verdict: Verdict, some: Iterable[Outcome]) -> Verdict:
        if verdict.signal != "jobs":
            return verdict
        fates = {one.fate for one in some if one.is_bad}
        word = fates.pop() if len(fates) == 1 else "failed or late"
        reason = verdict.reason.replace(WORDS["jobs"], f"jobs {word}", 1)
        return replace(verdict, reason=reason)

    orgs: Mapping[str, Verdict] = {
        org: said(verdict, (one for one in jobs if one.org == org))
        for org, verdict in tier.orgs.items()
    }
    left = [one for one in jobs if one.org not in orgs]
    return tier._replace(route=said(tier.route, left), orgs=orgs)
