"""Health monitor of a rollout: verdicts from the access log, and the holds on a raise."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from rollout_console.changes.plan import Plan
from rollout_console.changes.traffic_diff import Move, Subject
from rollout_console.common.durations import target_text
from rollout_console.common.safe_text import visible
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.condemned import (
    may_have_traffic,
    sick_among,
    sick_list,
    sick_words,
)
from rollout_console.guard.evidence.blame import Tier
from rollout_console.guard.evidence.culprits import Culprit
from rollout_console.guard.evidence.previous import failing_words, is_over
from rollout_console.guard.evidence.verdict import (
    Verdict,
    percent_words,
)
from rollout_console.guard.ingestion import COLD_BYTES
from rollout_console.guard.judge import Judge
from rollout_console.guard.traffic import Servers
from rollout_console.health.windows.summary import Summary
from rollout_gate.file.model import RolloutFile

if TYPE_CHECKING:
    pass

_MOST_SPOKEN = 4
_MOST_JUDGED = 500
_MOST_WINDOWS = 20
_MOST_LOOKED_AT = 200
"""Limit of the orgs of a route among which one is looked for."""


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
    has_p95: bool = True
    """Whether the source has latencies at all."""

    @property
    def verdict_text(self) -> str:
        """The verdict in words."""
        return self.verdict.words


def _bad(summary: Summary) -> int:
    """Return how many requests were answered with a 4xx other than 429."""
    return round(summary.percent_4xx * summary.judged / 100)


class Monitor(Judge):
    """Answers what screens, commands and the guard ask of a judge: figures, words, holds."""

    def __init__(
        self,
        path: Path,
        file: RolloutFile,
        *,
        cold_bytes: int = COLD_BYTES,
        older_bytes: int = 0,
        servers: Servers = lambda: None,
    ) -> None:
        self._of_routes: dict[str, tuple[float, Health]] = {}
        super().__init__(
            path, file, cold_bytes=cold_bytes, older_bytes=older_bytes, servers=servers
        )

    def _forget_verdicts(self) -> None:
        super()._forget_verdicts()
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
            has_p95="p95" not in self.lacks,
        )

    def verdicts(self, now: float) -> dict[str, Verdict]:
        """Return a snapshot of every route's verdict, which other threads may read."""
        return {name: self.health(name, None, now).verdict for name in self.file.routes}

    def condemned(self, now: float) -> dict[str, Mapping[str, Verdict]]:
        """Return, by route, the orgs that ask for a rollback of their own, and why.

        They are not part of the route's verdict; where that asks for a rollback too, the route is
        what is to be rolled back.
        """
        return {name: self._tier(name, now).orgs for name in self.file.routes}

    def refused(self, now: float) -> dict[str, Mapping[str | None, Verdict]]:
        """Return, by route, what both sides refuse in a row: the route itself (None), or orgs."""
        return {name: self._tier(name, now).refused for name in self.file.routes}

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
        if tier.route.kind == "rollback":
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
            self.unseen(now)
            or budgets.held(self.file, route, org, now, subject)
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
        """Return until when freeze windows forbid raises on a route, empty outside of any.

        They may follow one another: a window that is active at the end of another goes on. No more
        than _MOST_WINDOWS are followed, as some leave no time between them at all.
        """
        found = self.file.routes.get(route)
        windows = found.ramp.freeze if found is not None else self.file.ramp.freeze
        at = begun = datetime.fromtimestamp(now, UTC)
        for _ in range(_MOST_WINDOWS):
            ends = [end for window in windows if (end := window.until(at)) is not None]
            if not ends:
                break
            at = max(ends)
        return f"frozen until {at:%a %d %b %H:%M} UTC" if at > begun else ""

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

    def previous_trouble(
        self, route: str | None, org: str | None, now: float, *, as_well: bool = True
    ) -> str:
        """Return how the previous provider is failing, empty where it is not.

        ``as_well`` is whether it is said that TokenLab fails, too, as at a rollback for that.
        """
        if route is None:
            each = (
                (name, self.previous_trouble(name, None, now, as_well=as_well))
                for name in self.file.routes
            )
            return "; ".join(f"{name}: {trouble}" for name, trouble in each if trouble)
        summary, settings = self.summary(route, org, "previous", now), self._guard_settings(route)
        by_jobs = self.job_verdicts.previous_trouble
        return failing_words(summary, settings, as_well=as_well) or by_jobs(
            route, org, settings.max_failed_jobs_percent, now, as_well=as_well
        )

    def previous_now(self, route: str | None, org: str | None, now: float) -> str:
        """Return how the previous provider is failing, and whether TokenLab is as well.

        Where it is bad requests of a single org, as TokenLab has those of one condemn that one, the
        org is named.
        """
        if route is None:
            each = ((name, self.previous_now(name, None, now)) for name in self.file.routes)
            return "; ".join(f"{name}: {trouble}" for name, trouble in each if trouble)
        if not self.previous_trouble(route, org, now):
            return ""  # by far the usual case
        if org is None and (alone := self._bad_requests_there(route, now)):
            return alone
        summary, settings = self.summary(route, org, "tokenlab", now), self._guard_settings(route)
        tier, limit = self._tier(route, now), settings.max_failed_jobs_percent
        fails = bool(
            tier.route.kind != "ok"
            or (tier.orgs if org is None else org in tier.orgs)
            or failing_words(summary, settings)
            or self.job_verdicts.fail(route, org, "tokenlab", limit, now)
        )
        return self.previous_trouble(route, org, now, as_well=fails)

    def _bad_requests_there(self, route: str, now: float) -> str:
        """Return whose bad requests the previous side refuses, where that is all that fails there.

        Empty where it is more than one org's, or where more orgs than are looked at have requests.
        """
        every, settings = self.summary(route, None, "previous", now), self._guard_settings(route)
        limit = settings.max_4xx_percent / 100
        only_4xx = replace(settings, max_4xx_percent=100.0)
        if failing_words(every, only_4xx) or not is_over(every.judged, _bad(every), limit):
            return ""
        begin, tracks = self.as_of(now) - self._window_s(route), self._windows.kept.tracks
        some = [
            org
            for org in self._seen[route]
            if (track := tracks.get((route, org, "previous"))) and track.last_at >= begin
        ]
        if not 1 < len(some) <= _MOST_LOOKED_AT:
            return ""
        each = {org: self.summary(route, org, "previous", now) for org in some}
        org, its = max(each.items(), key=lambda one: _bad(one[1]))
        others = max(every.judged - its.judged, 0), max(_bad(every) - _bad(its), 0)
        if is_over(*others, limit) or not is_over(its.judged, _bad(its), limit):
            return ""
        share = percent_words(its.percent_4xx)
        return f"the previous provider refuses {visible(org)}: 4xx {share} of {its.judged}"

    def job_limit(self, route: str, metric: str) -> float | None:
        """Return the guard's limit of a figure of jobs, in percent or seconds; None without one."""
        settings = self._guard_settings(route)
        if metric == "asset_p95":
            return settings.max_asset_p95_s or None
        return settings.max_failed_jobs_percent if metric == "failed" else None
