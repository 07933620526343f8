"""Health monitor of a rollout: verdicts from the access log, and the holds on a raise."""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from rollout_console.changes.plan import Plan
from rollout_console.changes.recorded import Recorded, moved_by, was_latched
from rollout_console.changes.traffic_diff import Move, Subject, moves
from rollout_console.common.durations import target_text
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.budget_watch import BudgetWatch
from rollout_console.guard.condemned import (
    gone_orgs,
    may_have_traffic,
    sick_among,
    sick_list,
    sick_words,
)
from rollout_console.guard.evidence.ages import Ages
from rollout_console.guard.evidence.blame import Tier, judge
from rollout_console.guard.evidence.culprits import Culprit
from rollout_console.guard.evidence.org_counts import (
    counts_without,
    last_error_at,
    last_request_at,
)
from rollout_console.guard.evidence.previous import failing_words
from rollout_console.guard.evidence.route_traffic import Span, route_traffic
from rollout_console.guard.evidence.tiers import stronger
from rollout_console.guard.evidence.two_sample import Counted, compared
from rollout_console.guard.evidence.verdict import (
    COMPARED,
    OK,
    WORDS,
    Counts,
    Verdict,
    hold_tier,
    mode_of,
    percent_words,
)
from rollout_console.guard.evidence.wilson import clean_requests_needed
from rollout_console.guard.job_verdicts import JobVerdicts
from rollout_console.guard.job_watch import JobWatch
from rollout_console.guard.traffic import COLD_BYTES, Watch
from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.bins import NO_LIMIT_MS, Limits
from rollout_console.health.windows.summary import Summary, bad_of, by_kind, classes_of, summarize
from rollout_gate.file.model import GuardSettings, RolloutFile

if TYPE_CHECKING:
    from rollout_console.health.backfill.reader import Backfill, Part

_SPANS_S = (3600.0, 6 * 3600.0, 24 * 3600.0)
_SIDES = ("tokenlab", "previous")
_MOST_SPOKEN = 4
_MOST_JUDGED = 500
_LOOK_BACK = 100
"""History rows read again at each refresh: write-ahead rows complete slightly out of order."""


class Health(msgspec.Struct, frozen=True):
    """Figures of an org or route on TokenLab in the guard's window; ``rate`` is requests/s.

    ``limit_percent`` is the highest of the limits of shares of errors. Of a route of async jobs
    (``is_async``) the time is ``asset_p95_s``, from create to asset, of the jobs of the last hour,
    None without one; ``p95_ms`` is that of its creates.
    """

    requests: int
    rate: float
    percent_4xx: float
    percent_5xx: float
    p95_ms: float
    over_4xx: bool
    over_5xx: bool
    over_p95: bool
    verdict: Verdict
    limit_percent: float = 0.0
    is_async: bool = False
    asset_p95_s: float | None = None

    @property
    def verdict_text(self) -> str:
        """The verdict in words."""
        return self.verdict.words


class Monitor(Watch):
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
    ) -> None:
        # The file's ctime is an upper bound of the time of its last change.
        self._ages = Ages(_changed_at(path))
        self._unrecorded = Ages()
        self._known_to = 0
        self._dated_ahead: dict[int, float] = {}
        self._comparisons: dict[str, tuple[float, Verdict]] = {}
        self._tiers: dict[str, tuple[float, Tier]] = {}
        self._of_routes: dict[str, tuple[float, Health]] = {}
        self._gone: dict[str, frozenset[str]] = {}
        self.jobs = JobWatch(path)
        self.job_verdicts = JobVerdicts(self.jobs)
        self.budgets = BudgetWatch(path)
        super().__init__(path, file, cold_bytes=cold_bytes, older_bytes=older_bytes)

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
        """Ingest access-log records, and invalidate the cached verdicts."""
        super().add(records, now)
        self._forget_verdicts()

    def add_older(self, older: "Backfill", part: "Part | None") -> None:
        """Ingest one part of the backfill, and invalidate the cached verdicts."""
        super().add_older(older, part)
        self._forget_verdicts()

    @property
    def known_to(self) -> int:
        """The history id after which rows are to be read; 0 for all."""
        return max(self._known_to - _LOOK_BACK, 0)

    def remember(self, recorded: Recorded, now: float) -> None:
        """Take the times of changes from the history, whoever made them.

        A change with a timestamp in the future (clock skew) is dated to when it is first seen here:
        otherwise nothing before that time would be evidence against a route.
        """
        self._forget_verdicts()
        for change in recorded.changes:
            self._known_to = max(self._known_to, change.id)
            at = change.at.timestamp()
            if at > now or change.id in self._dated_ahead:
                at = self._dated_ahead.setdefault(change.id, now)
            if change.action in ("rollback", "resume") and change.org is None:
                self._ages.reset_evidence(change.route, at)
            for move in moved_by(change):
                if move.raised:
                    self._ages.note_raise(move.route, move.org, at)
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
        self._of_routes.clear()

    def health(self, route: str, org: str | None, now: float) -> Health:
        """Return the figures and verdict of one org on a route, or of the route (org None).

        Those of a route are memoized for one value of ``now``: alerts and rows ask for them.
        """
        if org is not None:
            return self._health(route, org, now)
        known = self._of_routes.get(route)
        if known is None or known[0] != now:
            known = self._of_routes[route] = now, self._health(route, None, now)
        return known[1]

    def _health(self, route: str, org: str | None, now: float) -> Health:
        summary = self.summary(route, org, "tokenlab", now)
        limits, is_async = self._guard_settings(route), self.is_async(route)
        asset_s = self.job_verdicts.asset_p95_s(route, org, "tokenlab", now) if is_async else None
        return Health(
            requests=summary.requests,
            rate=summary.rate_per_s,
            percent_4xx=summary.percent_4xx,
            percent_5xx=summary.percent_5xx,
            p95_ms=summary.p95 or 0.0,
            over_4xx=summary.percent_4xx > limits.max_4xx_percent,
            over_5xx=summary.percent_5xx > limits.max_5xx_percent,
            over_p95=(summary.p95 or 0.0) > limits.max_p95_ms
            or (asset_s or 0.0) > (limits.max_asset_p95_s or inf),
            verdict=self._verdict(route, org, summary, now),
            limit_percent=max(
                limits.max_4xx_percent, limits.max_5xx_percent, limits.max_bad_percent
            ),
            is_async=is_async,
            asset_p95_s=asset_s,
        )

    def is_async(self, route: str | None) -> bool:
        """Return whether a route makes its assets by async jobs, which the ledger accounts for."""
        return route is not None and self.job_verdicts.is_async(self.file.routes.get(route))

    def verdicts(self, now: float) -> dict[str, Verdict]:
        """Return a snapshot of every route's verdict, which other threads may read."""
        return {name: self.health(name, None, now).verdict for name in self.file.routes}

    def condemned(self, now: float) -> dict[str, Mapping[str, Verdict]]:
        """Return, by route, the orgs that ask for a rollback of their own, and why.

        They are not part of the route's verdict; where that asks for a rollback too, the route is
        what is to be rolled back.
        """
        return {name: self._tier(name, now).orgs for name in self.file.routes}

    def culprits(self, now: float) -> dict[str, Sequence[Culprit]]:
        """Return, by route, the hosts and key aliases that have its errors; no verdict is theirs.

        The route's verdict names those of its own signal.
        """
        return {name: self._tier(name, now).culprits for name in self.file.routes}

    def unnamed(self, now: float) -> dict[str, Sequence[str]]:
        """Return, by route, the labels (hosts, key aliases) with more values than are judged."""
        return {name: self._tier(name, now).unnamed for name in self.file.routes}

    def sick_targets(self, now: float, route: str | None = None) -> list[tuple[str, str | None]]:
        """Return every route, or one, and its orgs that ask for a rollback now, to roll back.

        A route takes its orgs along; what has no traffic on TokenLab, as it is rolled back or has
        no share, is left out.
        """
        found: list[tuple[str, str | None]] = []
        condemned = self.condemned(now)
        for name, verdict in self.verdicts(now).items():
            if route not in (None, name) or self.file.is_latched(name):
                continue
            if verdict.kind == "rollback":
                found.append((name, None))
                continue
            one = self.file.routes[name]
            found += [
                (name, org)
                for org in condemned[name]
                if may_have_traffic(one, org) and not one.org_rolled_back(org)
            ]
        return found

    def spoken_verdict(self, route: str | None, org: str | None, now: float) -> str:
        """Return the guard's verdict in words, as the history stores it with a change.

        Without a route, it lists the verdict of each route that is not ok, and the orgs that are
        condemned.
        """
        if route is not None and route not in self.file.routes:
            return ""
        if route is not None and org is not None:
            return self.health(route, org, now).verdict_text
        said = []
        for name, verdict in self.verdicts(now).items():
            if route in (None, name):
                if verdict.kind != "ok":
                    said.append(verdict.words if route else f"{name} {verdict.words}")
                said += sick_list(name, self._tier(name, now).orgs)
        return "; ".join(said) or "ok"

    def spoken_verdict_of(
        self, targets: Sequence[tuple[str | None, str | None]], now: float
    ) -> str:
        """Return the guard's verdict of the targets of one change, those to roll back first."""
        if len(targets) == 1:
            return self.spoken_verdict(*targets[0], now)
        if len(targets) > _MOST_JUDGED:  # a verdict of each of 10,000 orgs takes seconds
            targets = list(dict.fromkeys((route, None) for route, _ in targets))
        each = [(one, self.spoken_verdict(*one, now)) for one in targets]
        said = [f"{visible(target_text(*one))} {words}" for one, words in each if words != "ok"]
        said.sort(key=lambda words: "rollback" not in words)
        more = len(said) - _MOST_SPOKEN
        return "; ".join(said[:_MOST_SPOKEN] + ([f"and {more} more"] if more > 0 else [])) or "ok"

    def rollback_reason(self, route: str | None, org: str | None, now: float) -> str:
        """Return the figures in a few words, the default reason that a rollback records.

        Where the rollback tier has a finding on the route, that is the reason: it covers the
        incident alone, while the window's figures are diluted by the good minutes before it.
        """
        summary = self.summary(route, org, "tokenlab", now)
        if not summary.requests:
            return "by the operator"
        tier = self._tier(route, now) if route is not None else Tier()
        if org is not None and org in tier.orgs:
            return tier.orgs[org].reason
        if tier.route.kind != "ok":
            return f"{tier.route.reason}" + (" on the route" if org is not None else "")
        if org is None and tier.orgs:
            return sick_words(tier.orgs)
        if org is None and tier.culprits:
            return tier.culprits[0].reason(now)
        words = [f"5xx {summary.percent_5xx:.1f}%", f"4xx {summary.percent_4xx:.1f}%"]
        if summary.bad:
            words.append(f"bad answers {summary.percent_bad:.1f}%")
        if route is not None and self.is_async(route):
            ended = self.job_verdicts.ended(route, org, "tokenlab", now)
            if ended is not None and ended.count:
                words.append(f"jobs failed {ended.failed_percent:.1f}%")
        elif summary.p95 is not None:
            words.append(f"p95 {summary.p95:.0f} ms")
        return " ".join(words)

    def held(
        self,
        route: str,
        org: str | None,
        before: int,
        after: int,
        balance: BalanceWatch,
        now: float,
        *,
        subject: Subject = "org",
    ) -> str:
        """Return why the guard holds a raise (basis points), empty where it does not.

        An org at 0% cannot have evidence: a raise up to the first step of the ramp needs none.
        Orgs that are condemned hold a raise of themselves, and of a share of several orgs (``org``
        None) that may include them, as ``subject`` says.
        """
        if frozen := self.frozen(route, now):
            return frozen
        settings = self._guard_settings(route)
        is_observed = settings.mode == "observe"
        if not is_observed and (short := balance.hold(settings.min_balance_usd, now)):
            return short
        tier = self._tier(route, now).without_observed(settings)
        if tier.route.kind != "ok":
            return tier.route.reason
        if org is not None and org in tier.orgs:
            return tier.orgs[org].reason
        listed = self.file.routes.get(route)
        if org is None and (sick := sick_among(tier.orgs, listed, subject)):
            return sick_words(sick)
        if listed is not None and (jobs := self.job_verdicts.held(listed, now)):
            return jobs
        if is_observed:  # nothing but signals whose own mode holds
            return ""
        budgets = self.budgets
        if watched := (
            budgets.held(self.file, route, org, now, subject)
            or budgets.short_runway(settings.min_runway_s, balance, now)
        ):
            return watched
        if before == 0:
            first = self.file.routes[route].ramp.steps[0] if route in self.file.routes else 100
            if after <= first:
                return ""
            if route in self.file.routes and self.file.is_latched(route, org):
                return "no data since it was rolled back"
            return f"0% so far: start with {first / 100:g}%"
        summary = self.summary(route, org, "tokenlab", now)
        verdict = self._verdict(route, org, summary, now, observed=False)
        return "" if verdict.kind == "ok" else verdict.reason

    def frozen(self, route: str, now: float) -> str:
        """Return until when a freeze window forbids raises on a route, empty outside of any."""
        found = self.file.routes.get(route)
        windows = found.ramp.freeze if found is not None else self.file.ramp.freeze
        at = datetime.fromtimestamp(now, UTC)
        ends = [end for window in windows if (end := window.until(at)) is not None]
        return f"frozen until {max(ends):%a %d %b %H:%M} UTC" if ends else ""

    def held_plan(self, plan: Plan, balance: BalanceWatch, now: float) -> str:
        """Return the first reason for which the guard holds a raise of a plan, empty without one.

        An operator who takes back their own recent rollback (``regrets``) needs no evidence, unless
        the guard would roll back one of the routes.
        """
        raised = [move for move in plan.moves if move.raises]
        if plan.regrets:
            routes = {move.route for move in raised}
            if all(self._tier(route, now).route.kind != "rollback" for route in routes):
                return ""
        for move in raised:
            if held := self.held_move(move, balance, now):
                return f"{move.route} / {move.who}: {held}"
        return ""

    def held_move(self, move: Move, balance: BalanceWatch, now: float) -> str:
        """Return why the guard holds the raise of one share, empty where it does not."""
        return self.held(
            move.route, move.org, move.before, move.after, balance, now, subject=move.subject
        )

    def previous_trouble(self, route: str | None, org: str | None, now: float) -> str:
        """Return how the previous provider is failing as well, empty where it is not."""
        if route is None:
            each = ((name, self.previous_trouble(name, None, now)) for name in self.file.routes)
            return "; ".join(f"{name}: {trouble}" for name, trouble in each if trouble)
        summary, settings = self.summary(route, org, "previous", now), self._guard_settings(route)
        by_jobs = self.job_verdicts.previous_trouble
        return failing_words(summary, settings) or by_jobs(
            route, org, settings.max_failed_jobs_percent, now
        )

    def _guard_settings(self, route: str | None) -> GuardSettings:
        """Return the limits of a route; of one of async jobs how long a create takes has none."""
        found = super()._guard_settings(route)
        return replace(found, max_p95_ms=NO_LIMIT_MS) if self.is_async(route) else found

    def job_limit(self, route: str, metric: str) -> float | None:
        """Return the guard's limit of a figure of jobs, in percent or seconds; None without one."""
        settings = self._guard_settings(route)
        if metric == "asset_p95":
            return settings.max_asset_p95_s or None
        return settings.max_failed_jobs_percent if metric == "failed" else None

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
        limits, begin = self._guard_settings(route), now - self._window_s(route)
        span = self._span(route, begin, now)
        traffic = route_traffic(
            self._windows, self._bins, self._org_bins, route, self._seen[route], span,
            Limits(limits.max_p95_ms, limits.max_ttft_p95_ms), self._label_bins,
        )  # fmt: skip
        found = Tier() if traffic is None else judge(limits, traffic, now)
        # Jobs take minutes: theirs is a longer window, which their verdicts know.
        one = self.file.routes[route]
        by_jobs = self.job_verdicts.tier(one, self._span(route, -inf, now), now)
        if by_jobs != Tier():
            found = stronger(limits, found, by_jobs)
        self._tiers[route] = now, found
        return found

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
        sick, begin = self._tier(route, now).orgs, now - self._window_s(route)
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
        left_out = self._left_out(route, now) if org is None else ()
        if left_out:
            summary = self._summary_without(route, left_out, now)
        settings = self._guard_settings(route)
        bake_s = self.file.routes[route].ramp.bake_s if route in self.file.routes else 0
        since_raise = now - self._newest_raise(route, org)
        least_s = max(bake_s, settings.window_s)
        found = hold_tier(
            settings,
            recent=_counts(summary.by_class, summary.bad),
            seen=self._evidence(route, org, least_s, since_raise, now, left_out),
            p95_ms=summary.p95,
            ttft_p95_ms=summary.ttft_p95,
            age_s=None if summary.last_at is None else now - summary.last_at,
            bake_left_s=max(bake_s - since_raise, 0.0),
            now=now,
            last_error_at=lambda signal: last_error_at(
                self._windows, route, org, signal, self._window_s(route), now, left_out
            ),
        )
        if found.signal == "data" and self.mostly_unusable(now):
            lines = self.unusable.lines
            found = Verdict(
                "hold", f"{found.reason}: {counted(lines, 'line')} cannot be used", "data"
            )
        if org is None and (found.kind == "ok" or found.waits) and route in self.file.routes:
            jobs = self.job_verdicts.hold(self.file.routes[route], now)
            found = found if jobs.kind == "ok" else jobs
        lacks_past = self.reads_older and self.kept_s(org, now) < min(least_s, since_raise)
        if lacks_past and found.kind == "ok":
            found = Verdict("hold", "reading the log", "data", waits=True)
        if tier.route.kind == "hold" and found.kind == "ok":
            return tier.route
        return self._compared(route, now) if found.kind == "ok" else found

    def _compared(self, route: str, now: float) -> Verdict:
        """Return a hold where shares of a route are higher than on the previous side, else OK."""
        known = self._comparisons.get(route)
        if known is None or known[0] != now:
            known = self._comparisons[route] = now, self._compare(route, now)
        return known[1]

    def _compare(self, route: str, now: float) -> Verdict:
        settings, begin = self._guard_settings(route), now - self._window_s(route)
        in_ms = Limits(settings.max_p95_ms, settings.max_ttft_p95_ms)
        since = max(begin, self._evidence_since(route))
        ours, theirs = (self._bins.between(route, side, since, now, in_ms) for side in _SIDES)
        for signal in COMPARED if theirs else ():
            if mode_of(settings, signal) == "observe":
                continue
            found = compared(
                *([Counted(one.at, *one.errors(signal)) for one in bins] for bins in (ours, theirs))
            )
            if found.is_higher:
                shares = [percent_words(100 * one) for one in (found.tokenlab, found.previous)]
                reason = f"{WORDS[signal]} {shares[0]} of answers, previous {shares[1]}"
                return Verdict("hold", reason, signal)
        return OK

    def _summary_without(self, route: str, left_out: Collection[str], now: float) -> Summary:
        """Return the figures of a route's other orgs, over the window."""
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
        most_s = min(since_raise, self.kept_s(org, now))
        if most_s <= 0:
            return Counts(0)  # raised just now, or the clock was set back since

        def within(span_s: float) -> Counts:
            span_s = min(span_s, most_s)
            if left_out:
                counts = counts_without(self._windows, route, left_out, now, span_s)
            else:
                counts = self._windows.counts(now, span_s, route, org)
            kinds = by_kind(counts)
            return _counts(classes_of(kinds), bad_of(kinds))

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


def _counts(by_class: Mapping[StatusClass, int], bad: int) -> Counts:
    of = by_class.__getitem__
    return Counts(
        bad=bad,
        requests=sum(by_class.values()) - of(StatusClass.ABANDONED),
        contract=sum(map(of, (StatusClass.CONTRACT, StatusClass.AUTH, StatusClass.BALANCE))),
        gateway=of(StatusClass.GATEWAY),
        limited=of(StatusClass.RATE_LIMIT),
    )


def _changed_at(path: Path) -> float:
    """Return an upper bound of a file's last change: its ctime, else now; epoch seconds."""
    try:
        return path.stat().st_ctime
    except OSError:
        return time.time()
