"""What the async jobs of a route say of it: the verdicts and figures that its requests lack.

The time of a media route is that from a create to its asset, which only the ledger of jobs knows;
how long the create took says nothing of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rollout_console.common.durations import brief_seconds
from rollout_console.guard.evidence.blame import Tier
from rollout_console.guard.evidence.route_traffic import Span
from rollout_console.guard.evidence.verdict import (
    JOB_SIGNALS,
    JOBS_COMPARED,
    OK,
    Verdict,
    mode_of,
    percent_words,
)
from rollout_console.guard.evidence.wilson import wilson_lower
from rollout_console.guard.job_watch import ENDED_S, LEAST_ENDED, JobWatch
from rollout_gate.file.model import ALWAYS_ASYNC, Route, Side

if TYPE_CHECKING:  # not at run time: a rollout without jobs needs none of it
    from rollout_console.jobs.outcomes import Ended, SideJobs

_KEPT_S = 5.0
"""How long what was computed of one read is used, in seconds."""
_LEDGER_FIRST_S = 2.0
"""By how much a request is earlier than a look at the folder, to be sure of its ledger."""


class JobVerdicts:
    """Judges routes by their jobs, as the last read of the ledger has them.

    What it returns is a function of that read, of the file and of the time. It is memoized for
    some seconds: a read has many jobs, and rows ask every second.
    """

    def __init__(self, watch: JobWatch, requests: Callable[[str, float, float], int]) -> None:
        """``requests`` counts those of a route that TokenLab had in some seconds before a time."""
        self._watch = watch
        self._requests = requests
        self._made_of: object = None
        self._made_at = 0.0
        self._tiers: dict[str, tuple[Route, Span, Tier]] = {}
        self._refused: dict[str, tuple[Span, Verdict]] = {}
        self._ended: dict[tuple[str, str, str | None, float], Ended] = {}
        self._series: dict[object, Mapping[str, Sequence[float | None]]] = {}
        self._used: dict[str, bool] = {}

    def is_async(self, route: Route | None) -> bool:
        """Return whether a route makes its assets by async jobs."""
        if route is None:
            return False
        if route.format == "image":
            sides = (self.side(route.name, "tokenlab"), self.side(route.name, "previous"))
            return any(one is not None and one.is_judged for one in sides)
        return route.format in ALWAYS_ASYNC

    def side(self, route: str, side: Side) -> "SideJobs | None":
        """Return the jobs of a side of a route; None where the ledger has none of it."""
        return self._watch.jobs.get((route, side))

    def ended(
        self, route: str, org: str | None, side: Side, now: float, span_s: float = ENDED_S
    ) -> "Ended | None":
        """Return how the jobs of a route or org have ended in the last ``span_s`` seconds.

        None where the ledger has no job of that side.
        """
        jobs = self.side(route, side)
        if jobs is None:
            return None
        self._renew(now)
        key = (route, side, org, span_s)
        if key not in self._ended:
            self._ended[key] = jobs.ended(self._made_at - span_s, org)
        return self._ended[key]

    def asset_p95_s(self, route: str, org: str | None, side: Side, now: float) -> float | None:
        """Return the p95 of the time to the asset of the last ENDED_S seconds, in seconds.

        None where no job has completed.
        """
        ended = self.ended(route, org, side, now)
        return ended.p95_s if ended is not None and ended.completed else None

    def series(
        self, route: str, org: str | None, side: Side, grid: tuple[int, int, int], now: float
    ) -> "Mapping[str, Sequence[float | None]]":
        """Return the figures of ``FIGURES`` as series over a grid; empty without any job.

        ``grid`` is the number of its first point, the step in seconds, and how many points there
        are.
        """
        jobs = self.side(route, side)
        if jobs is None:
            return {}
        from rollout_console.jobs.outcomes import series_of

        self._renew(now)
        key = (route, org, side, grid)
        if key not in self._series:
            self._series[key] = series_of(jobs.of(org), *grid)
        return self._series[key]

    def tier(self, route: Route, span: Span, now: float) -> Tier:
        """Return what the jobs of a route ask for; of ``span`` counts since when and for whom."""
        ours = self.side(route.name, "tokenlab")
        if ours is None:
            return Tier()
        from rollout_console.guard.evidence.job_tier import job_tier
        from rollout_console.jobs.outcomes import NO_JOBS

        judged = self._judged(ours, span, now)
        known = self._tiers.get(route.name)
        if known is None or known[0] is not route or known[1] != judged:
            theirs = self.side(route.name, "previous") or NO_JOBS
            tier = job_tier(route.guard, ours, theirs, judged, self._made_at)
            known = self._tiers[route.name] = route, judged, tier
        return known[2]

    def refused(self, route: Route, span: Span, now: float) -> Verdict:
        """Return a hold where TokenLab refuses more jobs than the previous side does, else ok.

        Of ``span`` counts since when and for whom. One that is only observed holds nothing.
        """
        ours, theirs = self.side(route.name, "tokenlab"), self.side(route.name, "previous")
        if ours is None or theirs is None or mode_of(route.guard, JOBS_COMPARED) == "observe":
            return OK
        from rollout_console.guard.evidence.job_comparison import refused_jobs

        judged = self._judged(ours, span, now)
        known = self._refused.get(route.name)
        if known is None or known[0] != judged:
            known = self._refused[route.name] = judged, refused_jobs(ours, theirs, judged)
        return known[1]

    def _judged(self, ours: "SideJobs", span: Span, now: float) -> Span:
        """Return the span of the jobs that are evidence, of before ``now`` as memoized."""
        self._renew(now)
        begin = ours.judged_since
        return Span(begin, max(begin, span.since), self._made_at, span.gone, span.reset)

    def hold(self, route: Route, span: Span, now: float) -> Verdict:
        """Return ``hold`` where too many jobs of a route fail, or their assets are late; else ok.

        So does a ledger that cannot be read, or is missing: the jobs' outcome is unknown. Of
        ``span`` counts since when and for whom, for the share that is refused.
        """
        settings = route.guard
        for signal in JOB_SIGNALS:
            # One that is only observed holds nothing, unless the guard does nothing but that.
            if settings.mode == "observe" or mode_of(settings, signal) != "observe":
                reason = self._reason(route, signal, now)
                if reason:
                    return Verdict("hold", reason, signal)
        return self.refused(route, span, now)

    def held(self, route: Route, now: float) -> str:
        """Return why jobs hold a raise of a route, empty where they do not."""
        watch = self._watch
        if not (watch.jobs or watch.troubles or watch.jobs_trouble or watch.no_ledger):
            return ""  # asked for each org of a ramp, mostly in a rollout without jobs
        acting = (one for one in JOB_SIGNALS if mode_of(route.guard, one) != "observe")
        reason = next((said for one in acting if (said := self._reason(route, one, now))), "")
        found = watch.troubles.get(route.name)
        if reason or found is None or route.guard.mode == "observe":
            return reason
        return found.twice_words

    def _reason(self, route: Route, signal: str, now: float) -> str:
        if signal == "jobs":
            found = self._watch.troubles.get(route.name)
            if found is not None and found.failing:
                return found.failing
            return self.unknown(route, now)
        limit_s, ended = (
            route.guard.max_asset_p95_s,
            self.ended(route.name, None, "tokenlab", now),
        )
        if not limit_s or ended is None or ended.completed < LEAST_ENDED or ended.p95_s <= limit_s:
            return ""
        return f"p95 to the asset {brief_seconds(ended.p95_s)}, limit {brief_seconds(limit_s)}"

    def unknown(self, route: Route, now: float) -> str:
        """Return why it is not known how the jobs of a route end; empty where it is.

        They are the applications' own: a guard on another host has no ledger of them.
        """
        watch = self._watch
        trouble = watch.jobs_trouble if self.is_async(route) else ""
        if not trouble and watch.no_ledger and route.format in ALWAYS_ASYNC:
            self._renew(now)
            if route.name not in self._used:
                # The gate writes a create to the ledger before it sends it.
                until = watch.looked_at - _LEDGER_FIRST_S
                self._used[route.name] = self._requests(route.name, until, ENDED_S) > 0
            trouble = watch.no_ledger if self._used[route.name] else ""
        return f"jobs not known: {trouble}" if trouble else ""

    def previous_trouble(
        self, route: str, org: str | None, limit: float, now: float, *, as_well: bool = True
    ) -> str:
        """Return how the previous side's jobs fail; empty where they do not.

        They do where the lower Wilson bound of their share is over ``limit`` (percent). ``as_well``
        is whether TokenLab fails, too.
        """
        ended = self.ended(route, org, "previous", now)
        if ended is None or not self.fail(route, org, "previous", limit, now):
            return ""
        figures = f"jobs failed {percent_words(ended.failed_percent)} of {ended.count:,}"
        return f"the previous provider is failing{' as well' if as_well else ''}: {figures}"

    def fail(self, route: str, org: str | None, side: Side, limit: float, now: float) -> bool:
        """Return whether the share of a side's jobs that fail is proven over a limit (percent)."""
        ended = self.ended(route, org, side, now)
        return ended is not None and wilson_lower(ended.bad, ended.count) > limit / 100

    def _renew(self, now: float) -> None:
        """Discard what was computed of an earlier read, or is some seconds old."""
        if self._made_of is not self._watch.jobs or not 0 <= now - self._made_at < _KEPT_S:
            self._made_of, self._made_at = self._watch.jobs, now
            self._tiers.clear()
            self._refused.clear()
            self._ended.clear()
            self._series.clear()
            self._used.clear()
