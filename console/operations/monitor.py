"""Health of a rollout: from the access log to verdicts, and to what is held against a raise."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from console.guard.evidence import clean_requests_needed, wilson_lower
from console.guard.raises import Raises
from console.guard.verdict import Counts, RouteGuard, Verdict, hold_tier, percent_words
from console.health.record import AccessRecord, StatusClass, classify
from console.health.summary import Summary
from console.history.history import Change
from console.operations.balance import BalanceWatch
from console.operations.edits_of_others import moved_by
from console.operations.moves import Move, moves
from console.operations.planner import ALL_ORGS
from console.operations.watch import COLD_BYTES, Watch
from console.rollout.model import RolloutFile

_NEVER = datetime.max.replace(tzinfo=UTC)
_SPANS_S = (3600.0, 6 * 3600.0, 24 * 3600.0)
_CLASS_OF = [classify(status).value for status in range(1000)]


@dataclass(frozen=True, slots=True)
class Health:
    """One org's (or route's) figures on TokenLab in the guard's window; rates a second."""

    requests: int
    rate: float
    percent_4xx: float
    percent_5xx: float
    p95_ms: float
    over_4xx: bool
    over_5xx: bool
    over_p95: bool
    verdict: Verdict

    @property
    def verdict_text(self) -> str:
        """The verdict as one says it."""
        return self.verdict.words


class Monitor(Watch):
    """Judges every route and org of one file by its access log."""

    def __init__(
        self,
        path: Path,
        file: RolloutFile,
        *,
        cold_bytes: int = COLD_BYTES,
        older_bytes: int = 0,
    ) -> None:
        super().__init__(path, file, cold_bytes=cold_bytes, older_bytes=older_bytes)
        self._raises = Raises()
        self._guards: dict[str, RouteGuard] = {}
        self._anew: dict[str | None, float] = {}
        self._judge_by(file)

    def configure(self, file: RolloutFile, now: float) -> None:
        """Take over a new version of the file; what was learned of routes that stay is kept.

        A share that rose begins to bake. The evidence against a route is forgotten where traffic
        was taken away from it or is given back, whoever did it; a step up does not hide a storm.
        """
        before, log = self.file, self.log_path
        super().configure(file, now)
        if self.log_path != log:
            self._guards.clear()
        self._judge_by(file)
        for move in moves(before, file):
            if move.route not in file.routes:
                continue
            if move.after > move.before:
                self._raises.note(move.route, move.org, now)
            if move.after < move.before or _was_latched(before, move):
                self._begin_anew(move.route, now)

    def _begin_anew(self, route: str | None, at: float) -> None:
        """Forget the evidence from before ``at``; a route of None stands for all."""
        if at <= self._anew.get(route, 0.0):
            return
        self._anew[route] = at
        for name, guard in self._guards.items():
            if route in (None, name):
                guard.reset()

    def _judge_by(self, file: RolloutFile) -> None:
        for name, route in file.routes.items():
            known = self._guards.get(name)
            if known is None or known.limits != route.guard:
                self._guards[name] = RouteGuard(route.guard)

    def note_raise(self, route: str, org: str | None, at: float) -> None:
        """Let a share that was raised at a time bake from then on."""
        self._raises.note(route, org, at)

    def remember(self, changes: Iterable[Change]) -> None:
        """Take from the history what was changed before this console was started."""
        for change in changes:
            if change.action in ("rollback", "resume"):
                self._begin_anew(change.route, change.at.timestamp())
            for name, one, before, after in moved_by(change):
                if after > before:
                    self._raises.note(name, one, change.at.timestamp())
                else:
                    self._begin_anew(name, change.at.timestamp())
            if _was_a_raise(change):
                org = None if change.org == ALL_ORGS else change.org
                self._raises.note(change.route, org, change.at.timestamp())

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Take lines into account."""
        super().add(records, now)
        # What is older than the window, or than a rollback, is no evidence of how things are.
        anew, of_all = self._anew.get, self._anew.get(None, 0.0)
        since = {
            name: datetime.fromtimestamp(
                max(now - guard.limits.window_s, of_all, anew(name, 0.0)), UTC
            )
            for name, guard in self._guards.items()
        }
        oldest = min(since.values(), default=_NEVER)
        for record in [record for record in records if record.ts >= oldest]:
            begins = since.get(record.route)
            if begins is not None and record.ts >= begins:
                self._guards[record.route].observe(
                    record.org,
                    record.side,
                    _CLASS_OF[record.status],
                    record.latency_ms,
                    min(record.ts.timestamp(), now),
                )

    def health(self, route: str, org: str | None, now: float) -> Health:
        """Return the figures and the verdict of one org on a route, or of the whole route."""
        summary = self.summary(route, org, "tokenlab", now)
        limits = self._guard_settings(route)
        return Health(
            requests=summary.requests,
            rate=summary.rate_per_s,
            percent_4xx=summary.percent_4xx,
            percent_5xx=summary.percent_5xx,
            p95_ms=summary.p95 or 0.0,
            over_4xx=summary.percent_4xx > limits.max_4xx_percent,
            over_5xx=summary.percent_5xx > limits.max_5xx_percent,
            over_p95=(summary.p95 or 0.0) > limits.max_p95_ms,
            verdict=self._verdict(route, org, summary, now),
        )

    def verdicts(self, now: float) -> dict[str, Verdict]:
        """Return the verdict of every route, for whoever may not ask this thread's monitor."""
        return {name: self.health(name, None, now).verdict for name in self.file.routes}

    def spoken_verdict(self, route: str | None, org: str | None, now: float) -> str:
        """Return the guard's verdict in words, as the history keeps it with a change.

        For everything, it is that of each route that is not ok.
        """
        if route is not None:
            known = route in self.file.routes
            return self.health(route, org, now).verdict_text if known else ""
        bad = [f"{name} {v.words}" for name, v in self.verdicts(now).items() if v.kind != "ok"]
        return "; ".join(bad) or "ok"

    def rollback_reason(self, route: str | None, org: str | None, now: float) -> str:
        """Return the figures in a few words, as a rollback writes them beside what it sets.

        Where the guard suspects the route, its own figures stand first: they are of the trouble
        alone, while those of the window are thinned by the good minutes before it.
        """
        summary = self.summary(route, org, "tokenlab", now)
        if not summary.requests:
            return "by the operator"
        guard = self._guards.get(route) if route is not None else None
        tier = guard.rollback_verdict() if guard is not None else None
        if tier is not None and tier.kind != "ok":
            return f"{tier.reason}" + (" on the route" if org is not None else "")
        words = [f"5xx {summary.percent_5xx:.1f}%", f"4xx {summary.percent_4xx:.1f}%"]
        if summary.p95 is not None:
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
    ) -> str:
        """Return why the guard holds a raise (basis points), or an empty text where it does not.

        An org at 0% has no evidence to show: its first step up to the ramp's first is free.
        """
        if frozen := self.frozen(route, now):
            return frozen
        settings = self._guard_settings(route)
        if settings.mode == "observe":
            return ""
        if short := balance.hold(settings.min_balance_usd, now):
            return short
        guard = self._guards.get(route)
        tier = guard.rollback_verdict() if guard is not None else None
        if tier is not None and tier.kind != "ok":
            return tier.reason
        if before == 0:
            first = self.file.routes[route].ramp.steps[0] if route in self.file.routes else 100
            return "" if after <= first else f"0% so far: start with {first / 100:g}%"
        verdict = self._verdict(route, org, self.summary(route, org, "tokenlab", now), now)
        return "" if verdict.kind == "ok" else verdict.reason

    def frozen(self, route: str, now: float) -> str:
        """Return until when nothing is raised on a route, empty where it may be."""
        found = self.file.routes.get(route)
        windows = found.ramp.freeze if found is not None else self.file.ramp.freeze
        at = datetime.fromtimestamp(now, UTC)
        ends = [end for window in windows if (end := window.until(at)) is not None]
        return f"frozen until {max(ends):%a %d %b %H:%M} UTC" if ends else ""

    def held_plan(self, planned: Iterable[Move], balance: BalanceWatch, now: float) -> str:
        """Return the first reason the guard has against any raise among ``planned``."""
        for move in planned:
            if move.after > move.before:
                held = self.held(move.route, move.org, move.before, move.after, balance, now)
                if held:
                    return f"{move.route} / {move.who}: {held}"
        return ""

    def previous_trouble(self, route: str | None, org: str | None, now: float) -> str:
        """Return what is wrong with the side that a rollback leads to; empty where nothing is.

        It is said only where the requests of the window leave no doubt.
        """
        if route is None:
            each = ((name, self.previous_trouble(name, None, now)) for name in self.file.routes)
            return "; ".join(f"{name}: {trouble}" for name, trouble in each if trouble)
        summary = self.summary(route, org, "previous", now)
        limits, requests = self._guard_settings(route), summary.requests
        for word, percent, limit in (
            ("5xx", summary.percent_5xx, limits.max_5xx_percent),
            ("4xx", summary.percent_4xx, limits.max_4xx_percent),
            ("429", summary.percent_429, limits.max_429_percent),
        ):
            errors = round(percent * requests / 100)
            if wilson_lower(errors, requests) > limit / 100:
                return f"previous is sick too: {word} {percent_words(percent)} of {requests}"
        if summary.p95 is not None and summary.p95 > limits.max_p95_ms and requests >= 20:
            return f"previous is slow too: p95 {summary.p95:.0f} ms of {requests}"
        return ""

    def _verdict(self, route: str, org: str | None, summary: Summary, now: float) -> Verdict:
        guard = self._guards.get(route)
        tier = guard.rollback_verdict() if guard is not None else None
        if tier is not None and tier.kind == "rollback":
            return tier
        settings = self._guard_settings(route)
        bake_s = self.file.routes[route].ramp.bake_s if route in self.file.routes else 0
        since_raise = now - self._raises.newest(route, org)
        least_s = max(bake_s, settings.window_s)
        found = hold_tier(
            settings,
            recent=_counts(summary.by_class),
            evidence=self._evidence(route, org, least_s, since_raise, now),
            p95_ms=summary.p95,
            age_s=None if summary.last_at is None else now - summary.last_at,
            bake_left_s=max(bake_s - since_raise, 0.0),
        )
        if found.gate == "data" and self.mostly_unusable(now):
            lines = self.unusable.lines
            found = Verdict("hold", f"{found.reason}: {lines:,} lines cannot be used", "data")
        lacks_past = self.reads_older and self.kept_s(org, now) < min(least_s, since_raise)
        if lacks_past and found.kind == "ok":
            found = Verdict("hold", "reading the log", "data")
        return found if tier is None or tier.kind == "ok" else tier

    def _evidence(
        self, route: str, org: str | None, least_s: float, since_raise: float, now: float
    ) -> Counts:
        """Return the counts that health is judged by, none of them from before the last raise.

        It is the time that a step bakes, and further back only as far as a small org needs it to
        have requests enough; how they went has no part in that.
        """
        settings = self._guard_settings(route)
        strictest = min(
            settings.max_5xx_percent, settings.max_4xx_percent, settings.max_429_percent
        )
        needed = clean_requests_needed(strictest / 100)
        most_s = min(since_raise, self.kept_s(org, now))
        if most_s <= 0:
            return Counts(0)  # raised this very moment, or by a clock that was set back since

        def within(span_s: float) -> Counts:
            return _counts(self._windows.by_class(now, min(span_s, most_s), route, org))

        # Of thousands of orgs most have too few even in the longest, and need no second look.
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


def _was_latched(file: RolloutFile, move: Move) -> bool:
    route = file.routes.get(move.route)
    if file.rolled_back or route is None or route.rolled_back:
        return True
    return move.org is not None and route.org_rolled_back(move.org)


def _counts(by_class: Mapping[StatusClass, int]) -> Counts:
    of = by_class.__getitem__
    return Counts(
        requests=sum(by_class.values()),
        contract=sum(map(of, (StatusClass.CONTRACT, StatusClass.AUTH, StatusClass.BALANCE))),
        gateway=of(StatusClass.GATEWAY),
        limited=of(StatusClass.RATE_LIMIT),
    )


def _was_a_raise(change: Change) -> bool:
    if change.action == "set":
        try:
            return Decimal(change.after) > Decimal(change.before)
        except ArithmeticError:
            return True  # a damaged row: a step that bakes once too often does no harm
    return change.action in ("resume", "undo", "restore")
