"""The judge of a rollout: verdicts on routes and orgs, from the log, the history and the ledger."""

import time
from collections.abc import Collection, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rollout_console.changes.plan import Plan
from rollout_console.changes.recorded import Recorded, moved_by, was_latched
from rollout_console.changes.traffic_diff import moves
from rollout_console.common.durations import set_back
from rollout_console.common.listing import counted
from rollout_console.guard.budget_watch import BudgetWatch
from rollout_console.guard.condemned import (
    gone_orgs,
)
from rollout_console.guard.evidence.ages import Ages
from rollout_console.guard.evidence.blame import Tier, judge
from rollout_console.guard.evidence.org_counts import (
    counts_without,
    first_request_at,
    last_error_at,
    last_request_at,
)
from rollout_console.guard.evidence.route_traffic import Span, route_traffic
from rollout_console.guard.evidence.tiers import stronger
from rollout_console.guard.evidence.two_sample import Counted, compared
from rollout_console.guard.evidence.verdict import (
    COMPARED,
    OK,
    Counts,
    Verdict,
    compared_verdict,
    hold_tier,
    mode_of,
)
from rollout_console.guard.evidence.wilson import clean_requests_needed
from rollout_console.guard.ingestion import COLD_BYTES
from rollout_console.guard.job_verdicts import JobVerdicts
from rollout_console.guard.job_watch import JobWatch
from rollout_console.guard.traffic import Servers, Watch
from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.bins import NO_LIMIT_MS, Limits
from rollout_console.health.windows.summary import Summary, bad_of, by_kind, classes_of, summarize
from rollout_console.history.rows import Change
from rollout_gate.file.model import GuardSettings, RolloutFile

if TYPE_CHECKING:
    from rollout_console.health.backfill.reader import Backfill, Part

_SPANS_S = (3600.0, 6 * 3600.0, 24 * 3600.0)
_SIDES = ("tokenlab", "previous")


class Judge(Watch):
    """Judges every route and org of one file by its access log.

    A verdict is a pure function of the log's lines in the window and of the file's history: every
    process with the same input has the same verdict, however long it has been running.
    """

    def __init__(
        self,
        path: Path,
        file: RolloutFile,
        *,
        cold_bytes: int = COLD_BYTES,
        older_bytes: int = 0,
        servers: Servers = lambda: None,
    ) -> None:
        # The file's ctime is an upper bound of the time of its last change.
        self._ages = Ages(_changed_at(path))
        self._unrecorded = Ages()
        self._known_to = 0
        self._dated_ahead: dict[int, float] = {}
        self._comparisons: dict[str, tuple[float, Verdict]] = {}
        self._tiers: dict[str, tuple[float, Tier]] = {}
        self._gone: dict[str, frozenset[str]] = {}
        self.jobs = JobWatch(path)
        self.job_verdicts = JobVerdicts(self.jobs, self._requests_before)
        self.budgets = BudgetWatch(path)
        super().__init__(
            path, file, cold_bytes=cold_bytes, older_bytes=older_bytes, servers=servers
        )

    def _requests_before(self, route: str, until: float, window_s: float) -> int:
        return sum(self._windows.by_class(until, window_s, route).values())

    def read(self) -> tuple[Sequence[AccessRecord], str]:
        """Return new records of the log, and its error; jobs and budgets are looked at as well."""
        now = time.time()
        self.jobs.refresh(self.file, now)
        self.budgets.refresh(self.file, now)
        return super().read()

    def configure(self, file: RolloutFile, now: float, plan: Plan | None = None) -> None:
        """Switch to a new version of the file; changes not in the history are dated ``now``.

        A raised share starts its bake time. Where traffic was lowered or a latch was lifted, by
        whomever, evidence is reset: that of the org, or of the route where it is a share of several
        orgs. A step up does not reset it, and so does not hide an incident. ``plan``, where the
        version comes of one, has the diff already.
        """
        before = self.file
        super().configure(file, now)
        self._forget_verdicts()
        self._gone.clear()
        for name in {**before.routes, **file.routes}:
            if before.is_latched(name) != file.is_latched(name):
                self._unrecorded.reset_evidence(name, now)
        is_planned = plan is not None and plan.prepared.before.revision == before.revision
        for move in plan.moves if plan is not None and is_planned else moves(before, file):
            if move.after > move.before:
                self._unrecorded.note_raise(move.route, move.org, now)
            if move.after < move.before or was_latched(before, move):
                self._unrecorded.reset_evidence(move.route, now, move.org)

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Ingest access-log records or counts, and invalidate the cached verdicts."""
        super().add(records, now)
        self._forget_verdicts()

    def _set_back(self, now: float, by: float) -> None:
        """Date resets and raises so too: until then nothing would be evidence otherwise."""
        super()._set_back(now, by)
        self._dated_ahead = {one: set_back(at, now, by) for one, at in self._dated_ahead.items()}
        for ages in (self._ages, self._unrecorded):
            ages.set_back(now, by)
        self._forget_verdicts()

    def add_older(self, older: "Backfill", part: "Part | None") -> None:
        """Ingest one part of the backfill, and invalidate the cached verdicts."""
        super().add_older(older, part)
        self._forget_verdicts()

    @property
    def known_to(self) -> int:
        """The id of the newest row of the history that is known; 0 without one."""
        return self._known_to

    def remember(self, recorded: Recorded, now: float) -> None:
        """Take the times of changes from the history, whoever made them.

        A change with a timestamp in the future (clock skew) is dated to when it is first seen here:
        otherwise nothing before that time would be evidence against a route. A raise is no older
        than the changes before it, which a host whose clock is behind may say.
        """
        self._forget_verdicts()
        if recorded.newest < self._known_to and recorded.revision:
            # Another database, whose ids begin again; what was seen stays true.
            self._known_to, self._dated_ahead = 0, {}
            self._ages.take(self._unrecorded)
        not_before = -inf
        for change in sorted(recorded.changes, key=_id_of):
            self._known_to = max(self._known_to, change.id)
            at = change.at.timestamp()
            if at > now or change.id in self._dated_ahead:
                at = self._dated_ahead.setdefault(change.id, now)
            else:
                not_before = max(at, not_before)
            if change.action in ("rollback", "resume") and change.org is None:
                self._ages.reset_evidence(change.route, at)
            for move in moved_by(change):
                if move.raised:
                    self._ages.note_raise(move.route, move.org, max(at, not_before))
                if move.lowered or move.latched:
                    self._ages.reset_evidence(move.route, at, move.org)
        if recorded.revision == self.file.revision:  # the history covers every change of the file
            self._ages.known_since = min(self._ages.known_since, recorded.known_since)
            self._unrecorded = Ages()

    def note_raise(self, route: str, org: str | None, at: float) -> None:
        """Start the bake time of a share that was raised at a time (epoch seconds)."""
        self._ages.note_raise(route, org, at)
        self._forget_verdicts()

    def _forget_verdicts(self) -> None:
        """Invalidate what is memoized of one time: lines, file or history have changed since."""
        self._tiers.clear()
        self._comparisons.clear()

    def is_async(self, route: str | None) -> bool:
        """Return whether a route makes its assets by async jobs, which the ledger accounts for."""
        return route is not None and self.job_verdicts.is_async(self.file.routes.get(route))

    def _guard_settings(self, route: str | None) -> GuardSettings:
        """Return the limits of a route; of one of async jobs how long a create takes has none."""
        found = super()._guard_settings(route)
        return replace(found, max_p95_ms=NO_LIMIT_MS) if self.is_async(route) else found

    def _limits(self, settings: GuardSettings) -> Limits:
        """Return the latencies from which on one is over its limit for certain.

        Those of a histogram of Prometheus are known by its buckets alone.
        """
        slow_ms, late_ms = float(settings.max_p95_ms), float(settings.max_ttft_p95_ms)
        if (feed := self.prometheus) is not None:
            slow_ms = feed.limit_above("duration", slow_ms)
            late_ms = feed.limit_above("first_token", late_ms)
        return Limits(slow_ms, late_ms)

    def limit_of(self, route: str | None, metric: str) -> float | None:
        """Return the guard's limit of a metric of ``series``, in its unit; None without one."""
        return None if metric == "p95" and self.is_async(route) else super().limit_of(route, metric)

    def _tier(self, route: str, now: float) -> Tier:
        """Return the rollback tier of a route and its orgs, memoized for one value of ``now``."""
        if route not in self.file.routes:
            return Tier()
        known = self._tiers.get(route)
        if known is not None and known[0] == now:
            return known[1]
        limits = self._guard_settings(route)
        found = self._by_requests(route, limits, now)
        # Jobs take minutes: theirs is a longer window, which their verdicts know.
        one = self.file.routes[route]
        by_jobs = self.job_verdicts.tier(one, self._span(route, -inf, now), now)
        if by_jobs != Tier():
            found = stronger(limits, found, by_jobs)
        self._tiers[route] = now, found
        return found

    def _by_requests(self, route: str, limits: GuardSettings, now: float) -> Tier:
        """Return the rollback tier of a route by its requests alone.

        Without figures to judge by there is no evidence, of health or of anything else.
        """
        if trouble := self.no_figures(now):
            return Tier(self._without_figures(trouble))
        as_of = self.as_of(now)
        span = self._span(route, as_of - self._window_s(route), as_of)
        traffic = route_traffic(
            self._windows, self._bins, self._org_bins, route, self._seen[route], span,
            self._limits(limits), self._label_bins, self.least_step_s,
        )  # fmt: skip
        return Tier() if traffic is None else judge(limits, traffic, as_of)

    def _span(self, route: str, begin: float, now: float) -> Span:
        """Return from when on evidence counts that is not from before ``begin``, and of whom."""
        since = max(begin, self._evidence_since(route))
        reset = self._unrecorded.orgs_reset(route, since)
        for org, at in self._ages.orgs_reset(route, since).items():
            reset[org] = max(at, reset.get(org, at))
        return Span(begin, since, now, self._gone_of(route), reset)

    def _gone_of(self, route: str) -> frozenset[str]:
        gone = self._gone.get(route)
        if gone is None:
            gone = self._gone[route] = gone_orgs(self.file.routes[route])
        return gone

    def _left_out(self, route: str, now: float) -> Collection[str]:
        """Return the orgs with requests in the window that the route's verdict leaves out."""
        if route not in self.file.routes:
            return ()
        sick, begin = self._tier(route, now).orgs, self.as_of(now) - self._window_s(route)
        tracks = self._windows.kept.tracks
        gone = (
            org
            for org in self._gone_of(route)
            if (track := tracks.get((route, org, "tokenlab"))) and track.last_at >= begin
        )
        return {*sick, *gone}

    def _evidence_since(self, route: str) -> float:
        return max(self._ages.evidence_since(route), self._unrecorded.evidence_since(route))

    def _newest_raise(self, route: str, org: str | None) -> float:
        return max(self._ages.newest_raise(route, org), self._unrecorded.newest_raise(route, org))

    def raised_at(self, route: str, org: str) -> float:
        """Return when a share was last raised, by the history or here; -inf where none is known.

        ``org`` is ALL_ORGS for a share of several.
        """
        return max(ages.recorded_raise(route, org) for ages in (self._ages, self._unrecorded))

    def _verdict(
        self, route: str, org: str | None, summary: Summary, now: float, *, observed: bool = True
    ) -> Verdict:
        """Return the verdict on a route or org; ``observed`` includes signals only observed."""
        tier = self._tier(route, now)
        if not observed:
            tier = tier.without_observed(self._guard_settings(route))
        if org is not None and org in tier.orgs:
            return tier.orgs[org]
        if tier.route.kind == "rollback":
            return tier.route
        if blind := self._blind(org, now):
            return blind
        left_out = self._left_out(route, now) if org is None else ()
        if left_out:
            summary = self._summary_without(route, left_out, now)
        settings, as_of = self._guard_settings(route), self.as_of(now)
        bake_s = self.file.routes[route].ramp.bake_s if route in self.file.routes else 0
        since_raise = now - self._newest_raise(route, org)
        least_s = max(bake_s, settings.window_s)
        seen = self._evidence(route, org, least_s, since_raise, now, left_out)
        found = hold_tier(
            settings,
            recent=_counts(summary.by_class, summary.bad),
            seen=seen,
            p95_ms=summary.p95,
            ttft_p95_ms=summary.ttft_p95,
            age_s=None if summary.last_at is None else max(as_of - summary.last_at, 0.0),
            bake_left_s=max(bake_s - since_raise, 0.0),
            now=now,
            last_error_at=lambda signal: last_error_at(
                self._windows, route, org, signal, self._window_s(route), as_of, left_out
            ),
            first_ago_s=lambda: (
                as_of - first_request_at(self._windows, route, org, seen.span_s, as_of, left_out)
            ),
        )
        if found.signal == "data" and self.mostly_unusable(now):
            lines = self.unusable_lately(now)
            found = Verdict(
                "hold", f"{found.reason}: {counted(lines, 'line')} cannot be used", "data"
            )
        if org is None and (found.kind == "ok" or found.waits) and route in self.file.routes:
            jobs = self.job_verdicts.hold(
                self.file.routes[route], self._span(route, -inf, now), now
            )
            found = found if jobs.kind == "ok" else jobs
        lacks_past = self.reads_older and self.kept_s(org, now) < min(least_s, since_raise)
        if lacks_past and found.kind == "ok":
            what = "reading the log" if self.prometheus is None else "reading Prometheus"
            found = Verdict("hold", what, "data", waits=True)
        if tier.route.kind == "hold" and found.kind == "ok":
            return tier.route
        if found.kind == "ok" and (wrong := self.clock_words(now)):
            return Verdict("hold", wrong, "data", brief="clocks differ")
        if found.kind == "ok" and (trouble := self.unseen(now)):
            return Verdict("hold", trouble, "data", brief="not all seen")
        return self._compared(route, now) if found.kind == "ok" else found

    def _without_figures(self, trouble: str) -> Verdict:
        brief = "no answer yet" if self.is_asking else "no figures"
        return Verdict("hold", trouble, "data", brief=brief, waits=self.is_asking)

    def _blind(self, org: str | None, now: float) -> Verdict | None:
        """Return the hold where Prometheus has no figures of an org, or of anything; else None."""
        if trouble := self.no_figures(now):
            return self._without_figures(trouble)
        state = None if self.prometheus is None else self.prometheus.state
        if org is not None and state is not None and state.without_org:
            return Verdict("hold", "Prometheus has no figures by org", "data", waits=True)
        return None

    def _compared(self, route: str, now: float) -> Verdict:
        """Return a hold where shares of a route are higher than on the previous side, else OK."""
        known = self._comparisons.get(route)
        if known is None or known[0] != now:
            known = self._comparisons[route] = now, self._compare(route, now)
        return known[1]

    def _compare(self, route: str, now: float) -> Verdict:
        settings, as_of = self._guard_settings(route), self.as_of(now)
        since = max(as_of - self._window_s(route), self._evidence_since(route))
        in_ms = self._limits(settings)
        ours, theirs = (self._bins.between(route, side, since, as_of, in_ms) for side in _SIDES)
        for signal in COMPARED if theirs else ():
            if mode_of(settings, signal) == "observe":
                continue
            found = compared(
                *([Counted(one.at, *one.errors(signal)) for one in bins] for bins in (ours, theirs))
            )
            if found.is_higher:
                return compared_verdict(signal, "answers", found)
        one = self.file.routes.get(route)
        span = self._span(route, -inf, now)
        return OK if one is None else self.job_verdicts.refused(one, span, now)

    def _summary_without(self, route: str, left_out: Collection[str], now: float) -> Summary:
        """Return the figures of a route's other orgs, over the window."""
        now = self.as_of(now)
        window_s = self._covered_s(self._window_s(route), now)
        counts = counts_without(self._windows, route, left_out, now, window_s)
        others = (org for org in self._seen[route] if org not in left_out)
        return summarize(counts, window_s, last_request_at(self._windows, route, others))

    def _evidence(
        self,
        route: str,
        org: str | None,
        least_s: float,
        since_raise: float,
        now: float,
        left_out: Collection[str],
    ) -> Counts:
        """Return the counts that health is judged by, none of them from before the last raise.

        They reach back over the bake time, and further only as far as a small org needs to have
        enough requests; the span depends on the number of requests, never on their outcome.
        """
        settings = self._guard_settings(route)
        strictest = min(
            settings.max_5xx_percent, settings.max_4xx_percent, settings.max_429_percent,
            settings.max_bad_percent,
        )  # fmt: skip
        needed = clean_requests_needed(strictest / 100)
        since_raise -= now - (as_of := self.as_of(now))
        most_s = min(since_raise, self.kept_s(org, now))
        if most_s <= 0:
            return Counts(0)  # raised just now, or the clock was set back since

        def within(span_s: float) -> Counts:
            span_s = min(span_s, most_s)
            if left_out:
                counts = counts_without(self._windows, route, left_out, as_of, span_s)
            else:
                counts = self._windows.counts(as_of, span_s, route, org)
            kinds = by_kind(counts)
            return _counts(classes_of(kinds), bad_of(kinds), span_s)

        # Longest span first: most of thousands of orgs have too few requests even in that one.
        *shorter, longest = (least_s, *(s for s in _SPANS_S if s > least_s))
        found = within(longest)
        if found.requests >= needed:
            for span_s in shorter:
                if span_s >= most_s:
                    break
                nearer = within(span_s)
                if nearer.requests >= needed:
                    return nearer
        return found


def _id_of(change: Change) -> int:
    return change.id


def _counts(by_class: Mapping[StatusClass, int], bad: int, span_s: float = 0.0) -> Counts:
    of = by_class.__getitem__
    return Counts(
        bad=bad,
        requests=sum(by_class.values()) - of(StatusClass.ABANDONED),
        contract=sum(map(of, (StatusClass.CONTRACT, StatusClass.AUTH, StatusClass.BALANCE))),
        gateway=of(StatusClass.GATEWAY),
        limited=of(StatusClass.RATE_LIMIT),
        span_s=span_s,
    )


def _changed_at(path: Path) -> float:
    """Return an upper bound of a file's last change: its ctime, else now; epoch seconds."""
    try:
        return path.stat().st_ctime
    except OSError:
        return time.time()
