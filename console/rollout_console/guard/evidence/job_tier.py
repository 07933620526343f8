"""The rollback tier over async jobs: the e-process and the blame of requests, on how jobs end.

A job is in the bin of its create, and counts as good while it is open: evidence only grows as
failures become known, so that no alarm comes of failures that are known sooner than assets. The
newest jobs are mostly open, and would hide those that have failed late: the tier is evaluated as of
before these as well. Each of both is the test of a sequence of jobs as it was sent.
"""

from collections.abc import Collection, Iterable, Sequence
from math import inf

from msgspec.structs import replace

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, Tier, Traffic, judge
from rollout_console.guard.evidence.previous import is_worse
from rollout_console.guard.evidence.route_traffic import Span
from rollout_console.guard.evidence.tiers import stronger
from rollout_console.guard.evidence.verdict import JOB_SIGNALS, WORDS, Verdict
from rollout_console.health.windows.bins import Bin
from rollout_console.jobs.outcomes import Fate, Outcome, SideJobs
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
    jobs = [one for one in ours.sent if counts_in(one, span)]
    bad_orgs = {one.org for one in jobs if one.is_bad or _is_slow(one, slow_s)}
    bad = [one for one in jobs if one.org in bad_orgs]
    if sum(one.is_bad or _is_slow(one, slow_s) for one in bad) < FLOOR_ERRORS:
        return Tier()
    traffic = _traffic(jobs, bad, theirs, slow_s, span)
    known_to = _slot(jobs[decided(jobs)].sent_at)
    orgs = {org: [one for one in bins if one.at < known_to] for org, bins in traffic.orgs.items()}
    before = replace(traffic, bins=[one for one in traffic.bins if one.at < known_to], orgs=orgs)
    found = judge(limits, traffic, now)
    if known_to < _slot(jobs[-1].sent_at) and before.bins:
        kept = {org: bins for org, bins in before.orgs.items() if bins}
        found = stronger(limits, judge(limits, replace(before, orgs=kept), now), found)
    return _worded(found, bad)


def counts_in(one: Outcome, span: Span) -> bool:
    """Return whether a job is evidence, by the time of its create and by its org."""
    if one.sent_at < span.since or one.org in span.gone:
        return False
    return not span.reset or one.sent_at >= span.reset.get(one.org, -inf)


def decided(jobs: Sequence[Outcome]) -> int:
    """Return the index of the first of the newest jobs that are mostly open; else the last one.

    It is where the open jobs outnumber the others by most, counted from the newest back.
    """
    most = lead = 0
    found = len(jobs) - 1
    for at in range(len(jobs) - 1, -1, -1):
        lead += 1 if jobs[at].fate == "open" else -1
        if lead > most:
            most, found = lead, at
    return found


def _traffic(
    jobs: Sequence[Outcome], bad: Sequence[Outcome], theirs: SideJobs, slow_s: float, span: Span
) -> Traffic:
    """Return the jobs as traffic; ``bad`` are those of orgs with an error."""
    orgs: dict[str, list[Outcome]] = {}
    for one in bad:
        orgs.setdefault(one.org, []).append(one)

    def told_at(signal: str, org: str) -> float:
        errors = (one for one in orgs.get(org, ()) if _is_error(one, signal, slow_s))
        return max((one.at for one in errors), default=-inf)

    def previous_of(org: str | None) -> Bin | None:
        ended = [one for one in theirs.of(org) if one.fate != "open" and one.sent_at >= span.begin]
        return _worst(ended, slow_s, span.now)

    return Traffic(
        bins=_bins(jobs, slow_s),
        orgs={org: _bins(some, slow_s) for org, some in orgs.items()},
        seen=len({one.org for one in jobs}),
        width_s=WIDTH_S,
        begin=_slot(jobs[0].sent_at),
        previous=previous_of(None),
        previous_of=previous_of,
        signals=JOB_SIGNALS,
        told_at=told_at,
    )


def _slot(at: float) -> int:
    return int(at // WIDTH_S) * WIDTH_S


def _bins(jobs: Iterable[Outcome], slow_s: float) -> list[Bin]:
    """Return the bins of jobs, the earliest sent first."""
    found: list[Bin] = []
    slot, some = -1, list[Outcome]()
    for one in jobs:
        at = int(one.sent_at // WIDTH_S)
        if at != slot:
            if some:
                found.append(_bin(slot * WIDTH_S, some, slow_s))
            slot, some = at, []
        some.append(one)
    if some:
        found.append(_bin(slot * WIDTH_S, some, slow_s))
    return found


def _bin(at: int, jobs: Sequence[Outcome], slow_s: float) -> Bin:
    fates = [one.fate for one in jobs]
    slow = sum(_is_slow(one, slow_s) for one in jobs) if slow_s < inf else 0
    timed = slow
    if slow_s < inf:
        timed += sum(one.fate == "completed" and not _is_slow(one, slow_s) for one in jobs)
    return Bin(
        at,
        len(fates),
        contract=fates.count("refused"),
        gateway=fates.count("failed") + fates.count("late"),
        timed=timed,
        slow=slow,
    )


def _is_slow(one: Outcome, slow_s: float) -> bool:
    """Return whether its asset came later than a limit, or an answer told that it was not there."""
    return (
        slow_s < inf and one.at - one.sent_at > slow_s and one.fate in ("completed", "open", "late")
    )


def _is_error(one: Outcome, signal: str, slow_s: float) -> bool:
    return one.is_bad if signal == "jobs" else _is_slow(one, slow_s)


def _worst(previous: Sequence[Outcome], slow_s: float, now: float) -> Bin | None:
    """Return the counts of the previous side: of a recent stretch, where that is proven worse."""
    if not previous:
        return None
    begin = _slot(previous[0].sent_at)
    found = every = _bin(begin, previous, slow_s)
    for recent_s in RECENT_S:
        some = [one for one in previous if one.at >= now - recent_s]
        recent = _bin(begin, some, slow_s)
        for signal in JOB_SIGNALS:
            if is_worse(recent.errors(signal), every.errors(signal)):
                found = recent
    return found


def _worded(tier: Tier, jobs: Sequence[Outcome]) -> Tier:
    """Name what the jobs did that a verdict is about: failed, late, or both."""
    if tier.route.kind == "ok" and not tier.orgs:
        return Tier()

    fates: dict[str, set[Fate]] = {}
    for one in jobs:
        if one.is_bad:
            fates.setdefault(one.org, set()).add(one.fate)

    def said(verdict: Verdict, some: Collection[Fate]) -> Verdict:
        if verdict.signal != "jobs":
            return verdict
        word = next(iter(some)) if len(some) == 1 else "failed or late"
        reason = verdict.reason.replace(WORDS["jobs"], f"jobs {word}", 1)
        return replace(verdict, reason=reason)

    orgs = {org: said(verdict, fates.get(org, ())) for org, verdict in tier.orgs.items()}
    left = {fate for org, some in fates.items() if org not in orgs for fate in some}
    return tier._replace(route=said(tier.route, left), orgs=orgs)
