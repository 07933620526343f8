"""The guard's test over async jobs: false alarms and delays, by simulation.

A stream of creates at even times, with fixed seeds; each job fails with a probability, after a time
of its own, or completes after another. The tier is evaluated as the ledger would show it, every
ten seconds at one job a second and every minute at one a minute. A figure is the share of streams
that alarmed, then the jobs created, and the time, from the first bad one to the alarm.
"""

import random
import statistics
import sys
from bisect import bisect
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, Tier
from rollout_console.guard.evidence.job_tier import job_tier
from rollout_console.guard.evidence.route_traffic import Span
from rollout_console.jobs.job_book import ENOUGH, FAR_S, NEAR_S
from rollout_console.jobs.outcomes import NO_JOBS, Fate, Outcome, SideJobs
from rollout_gate.file.model import GuardSettings

LIMITS = GuardSettings(mode="enforce")
ORGS = tuple(f"org-{i}" for i in range(12))
SICK = ORGS[1]
STREAMS = 40
LENGTH = 4_000


class Kind(NamedTuple):
    """A stream: one job every ``every_s`` seconds; from the one at ``since`` on ``rate`` fail.

    Before that 1% fail. ``fails_s`` and ``completes_s`` are median times in seconds; ``org`` is
    the only one that is sick, all where it is empty; ``stuck`` jobs never end, and are late after
    ``limit_s``.
    """

    name: str
    every_s: float
    rate: float
    since: int = 0
    fails_s: float = 20.0
    completes_s: float = 60.0
    org: str = ""
    stuck: bool = False
    limit_s: float = 1_800.0
    length: int = LENGTH


class Job(NamedTuple):
    """One job: when it was sent and ends, its org, and whether it fails; a stuck one has no end."""

    sent_at: float
    ends_at: float
    org: str
    fails: bool
    due: float


class Measured(NamedTuple):
    """Streams that alarmed too early and in time (0 to 1), and the delays of these."""

    early: float
    found: float
    jobs: float | None
    seconds: float | None


KINDS = tuple(
    Kind(f"{name}, {words}", every_s, rate, since, **more)
    for name, every_s in (("1 a second", 1.0), ("1 a minute", 60.0))
    for words, rate, since, more in (
        ("healthy 1%, fails in 5 s, done in 60 s", 0.01, 0, {"fails_s": 5.0}),
        ("healthy 1%, fails in 5 m, done in 10 s", 0.01, 0, {"fails_s": 300, "completes_s": 10}),
        ("healthy 1%, done in 10 m", 0.01, 0, {"fails_s": 5.0, "completes_s": 600.0}),
        ("then 20% fail", 0.20, 500, {"length": 2_000}),
        ("then 50% fail", 0.50, 500, {"length": 2_000}),
        ("then 100% fail", 1.0, 500, {"length": 2_000}),
        ("then 100% fail, in 5 m", 1.0, 500, {"length": 2_000, "fails_s": 300.0}),
        ("then all are stuck", 1.0, 500, {"length": 3_000, "stuck": True}),
        ("then one org of 12 fails", 1.0, 500, {"length": 2_000, "org": SICK}),
    )
)


def jobs_of(kind: Kind, seed: int) -> Iterator[Job]:
    """Yield the jobs of a stream, the earliest first."""
    rng = random.Random(f"{seed} {kind.name}")
    for i in range(kind.length):
        org, at = rng.choice(ORGS), i * kind.every_s
        is_sick = i >= kind.since and kind.org in ("", org)
        fails = rng.random() < (kind.rate if is_sick else 0.01)
        took = (kind.fails_s if fails else kind.completes_s) * rng.lognormvariate(0, 0.3)
        ends_at = inf if fails and is_sick and kind.stuck else at + took
        yield Job(at, ends_at, org, fails, at + kind.limit_s)


def alarm_at(kind: Kind, seed: int) -> tuple[float, Tier] | None:
    """Return when the tier first asked for a rollback, and for which; None where it never did."""
    jobs = list(jobs_of(kind, seed))
    look_s, window = max(kind.every_s, 10.0), max(NEAR_S, 2 * kind.limit_s)
    span_s = window if window / kind.every_s >= ENOUGH else FAR_S
    bad_at = sorted(min(one.ends_at, one.due) for one in jobs if one.fails)
    first = known = 0
    now = 0.0
    while now < jobs[-1].sent_at:
        now += look_s
        count = bisect(bad_at, now)
        if count == known and now % (12 * look_s):
            continue  # without another failure evidence hardly grows: not each look is played
        known = count
        while jobs[first].sent_at < now - span_s:
            first += 1
        sent = [_seen(one, now) for one in jobs[first : int(now / kind.every_s) + 1]]
        if sum(one.is_bad for one in sent) < FLOOR_ERRORS:
            continue
        span = Span(now - span_s, now - span_s, now, (), {})
        tier = job_tier(LIMITS, SideJobs(sent), NO_JOBS, span, now)
        if tier.route.kind == "rollback" or tier.orgs:
            return now, tier
    return None


def _seen(job: Job, now: float) -> Outcome:
    if job.ends_at <= now:
        fate: Fate = "failed" if job.fails else "completed"
        return Outcome("video", "tokenlab", job.org, job.sent_at, fate, job.ends_at)
    late = now >= job.due
    return Outcome(
        "video", "tokenlab", job.org, job.sent_at, "late" if late else "open",
        job.due if late else now,
    )  # fmt: skip


def measure(kind: Kind, streams: int = STREAMS) -> Measured:
    """Return how often and how soon streams of a kind alarm, and for whom they should."""
    begins, early, delays = kind.since * kind.every_s, 0, []
    for seed in range(streams):
        found = alarm_at(kind, seed)
        if found is None:
            continue
        at, tier = found
        blamed = {kind.org} == {*tier.orgs} and tier.route.kind == "ok" if kind.org else True
        if (kind.since and at <= begins) or not blamed:
            early += 1
        else:
            delays.append(at - begins)
    middle = statistics.median(delays) if delays else None
    made = None if middle is None else middle / kind.every_s
    if made is not None and kind.org:
        made /= len(ORGS)
    return Measured(early / streams, len(delays) / streams, made, middle)


def main() -> None:
    """Print the table."""
    print(f"guard jobs, limit {LIMITS.max_failed_jobs_percent:g}%, {STREAMS} streams each")
    for kind in KINDS:
        early, found, made, seconds = measure(kind)
        said = f"{found:6.1%} alarmed" + (f", {early:.1%} wrongly" if kind.since else "")
        after = "" if made is None else f", median after {made:.0f} jobs, {seconds:.0f} s"
        print(f"  {kind.name:<55} {said}{after}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
