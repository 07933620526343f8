"""The two-sample test over async jobs: does TokenLab refuse more of them than the previous side?

A job is in the block of its create, as requests are in that of their line. The test looks at jobs
up to the newest that are mostly open on either side, as a refusal is known sooner than an asset. Of
those that are open yet before that, TokenLab's count as not refused and the previous side's are
left out, so that what is not known makes the difference smaller.
"""

from collections.abc import Iterable

from rollout_console.guard.evidence.job_tier import counts_in, decided
from rollout_console.guard.evidence.route_traffic import Span
from rollout_console.guard.evidence.two_sample import Counted, compared
from rollout_console.guard.evidence.verdict import OK, Verdict, compared_verdict
from rollout_console.jobs.outcomes import Outcome, SideJobs

BLOCK_S = 300
"""Length of a block in seconds: jobs come a few a minute, and both sides need some in each."""


def refused_jobs(ours: SideJobs, theirs: SideJobs, span: Span) -> Verdict:
    """Return a hold where TokenLab's share of refused jobs is the higher one for certain; else OK.

    Of ``span`` counts since when evidence counts, by the time of a job's create, and for which
    orgs.
    """
    here = [one for one in ours.sent if counts_in(one, span)]
    there = [one for one in theirs.sent if counts_in(one, span)]
    if not here or not there:
        return OK
    until = min(some[decided(some)].sent_at for some in (here, there))
    found = compared(
        _counted(one for one in here if one.sent_at <= until),
        _counted(one for one in there if one.sent_at <= until and one.fate != "open"),
        block_s=BLOCK_S,
    )
    return compared_verdict("refused", "jobs", found) if found.is_higher else OK


def _counted(jobs: Iterable[Outcome]) -> list[Counted]:
    return [Counted(int(one.sent_at), 1, int(one.fate == "refused")) for one in jobs]
