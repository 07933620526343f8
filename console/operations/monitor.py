"""Health of a rollout: from the access log to the figures, verdicts and proofs that are shown."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from console.guard.raises import Raises
from console.guard.verdict import Counts, RouteGuard, Verdict, hold_tier
from console.health.follow import LogFollower
from console.health.record import AccessRecord
from console.health.summary import Summary
from console.health.windows import Windows
from console.history.history import Change
from console.operations.balance import BalanceWatch
from console.operations.moves import Move, moves
from console.operations.planner import ALL_ORGS
from console.rollout.model import GuardSettings, RolloutFile, Side

QUIET_S = 5.0
"""A rolled back org that sent nothing to TokenLab for this long has drained."""

STALE_S = 15.0
"""Without a line of log for this long, the figures on screen are old."""

_PIECE_BYTES = 2 * 1024 * 1024
COLD_BYTES = 32 * 1024 * 1024
"""How much of a log that is there already is read at the start."""


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


@dataclass(frozen=True, slots=True)
class Proof:
    """What the log shows of a rollback. ``drained`` is never said without traffic to show it."""

    drained: bool
    text: str


class Monitor:
    """Follows one access log and judges every route and org of one file.

    ``read`` does the reading and may run in another thread; everything else belongs to the
    thread that owns the monitor. Times are epoch seconds and are always passed in.
    """

    piece = 5_000
    """A read of at least this many records is followed by another at once."""

    def __init__(self, path: Path, file: RolloutFile, *, cold_bytes: int = COLD_BYTES) -> None:
        self._path = path
        self._cold_bytes = cold_bytes
        self._log_path: Path | None = None
        self.file = file
        self._raises = Raises()
        self.configure(file, 0.0)

    def configure(self, file: RolloutFile, now: float) -> None:
        """Take over a new version of the file; what was learned of routes that stay is kept.

        The evidence against a route whose shares changed is forgotten, whoever changed them, and
        a share that rose begins to bake.
        """
        changed = list(moves(self.file, file)) if file is not self.file else []
        self.file = file
        log_path = (self._path.parent / file.access_log).absolute()
        if log_path != self._log_path:
            self._log_path = log_path
            self._follower = LogFollower(log_path, start="tail", tail_bytes=self._cold_bytes)
            routes = file.routes.values()
            longest = max(
                [300, *(r.guard.window_s for r in routes), *(r.ramp.bake_s for r in routes)]
            )
            self._windows = Windows(horizon_s=min(longest, 3600))
            self._guards: dict[str, RouteGuard] = {}
            self._seen: dict[str, dict[str, None]] = defaultdict(dict)
            self.last_line_at = 0.0
            self.lines = 0
        for name, route in file.routes.items():
            limits = route.guard
            known = self._guards.get(name)
            if known is None or known.limits != limits:
                self._guards[name] = RouteGuard(limits)
        for move in changed:
            if move.after > move.before:
                self._raises.note(move.route, move.org, now)
        for name in {move.route for move in changed} & self._guards.keys():
            self._guards[name].reset()

    def remember(self, changes: Iterable[Change]) -> None:
        """Take from the history when shares were raised before this console was started."""
        for change in changes:
            if _was_a_raise(change):
                org = None if change.org == ALL_ORGS else change.org
                self._raises.note(change.route, org, change.at.timestamp())

    @property
    def log_path(self) -> Path:
        """The access log that is followed."""
        assert self._log_path is not None
        return self._log_path

    @property
    def bad_lines(self) -> int:
        """How many lines of the log were not access-log lines."""
        return self._follower.bad_lines

    def read(self) -> tuple[Sequence[AccessRecord], str]:
        """Return the lines that have come, at most a piece, and what is wrong, if anything."""
        records = self._follower.poll(max_bytes=_PIECE_BYTES)
        return records, self._follower.trouble

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Take lines into account."""
        self._windows.add(records, now)
        self.lines += len(records)
        for route, org in {(record.route, record.org): None for record in records}:
            self._seen[route][org] = None
        since = {name: now - guard.limits.window_s for name, guard in self._guards.items()}
        for record in records:
            at = record.at
            self.last_line_at = max(self.last_line_at, min(at, now))
            # What is older than the window is no evidence of how things are now.
            if at >= since.get(record.route, now):
                self._guards[record.route].observe(
                    record.org, record.side, record.status_class.value, record.latency_ms
                )

    def catch_up(self, now: float) -> None:
        """Read all there is; for commands, which look once."""
        while True:
            records, _ = self.read()
            self.add(records, now)
            if not records:
                return

    def seen_orgs(self) -> dict[str, Iterable[str]]:
        """Return, by route, the orgs that the log has had lines of."""
        return {route: orgs.keys() for route, orgs in self._seen.items()}

    def age_s(self, now: float) -> float | None:
        """Return how old the newest line is; None before there was one."""
        return now - self.last_line_at if self.last_line_at else None

    def summary(self, route: str | None, org: str | None, side: Side, now: float) -> Summary:
        """Return the figures of a side over the guard's window of the route."""
        return self._windows.summary(now, self._window_s(route), route=route, org=org, side=side)

    def series(
        self, metric: str, route: str | None, side: Side, now: float, window_s: float, points: int
    ) -> Sequence[float | None]:
        """Return a metric over time, None where there was no request."""
        return self._windows.series(now, window_s, points, metric, route=route, side=side)

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

    def held_plan(self, planned: Iterable[Move], balance: BalanceWatch, now: float) -> str:
        """Return the first reason the guard has against any raise among ``planned``."""
        for move in planned:
            if move.after > move.before:
                held = self.held(move.route, move.org, move.before, move.after, balance, now)
                if held:
                    return f"{move.route} / {move.who}: {held}"
        return ""

    def proof(self, route: str | None, org: str | None, since: float, now: float) -> Proof:
        """Return what the log shows since a rollback at ``since``."""
        last = self._last(route, org, "tokenlab")
        other = self._last(route, org, "previous")
        if last is None and other is None:
            return Proof(False, "no request seen yet")
        quiet = now - max(last or 0.0, since)
        age = "no TokenLab request" if last is None else f"last TokenLab request {_ago(now - last)}"
        took = max((last or 0.0) - since, 0.0)
        if quiet >= QUIET_S and other is not None and other > since:
            return Proof(True, f"drained in {took:.0f} s · {age}")
        if quiet >= QUIET_S:
            return Proof(False, f"{age} · no request to previous either yet")
        return Proof(False, f"draining · {age}")

    def _last(self, route: str | None, org: str | None, side: Side) -> float | None:
        return self._windows.last_seen(route, org, side)

    def _verdict(self, route: str, org: str | None, summary: Summary, now: float) -> Verdict:
        guard = self._guards.get(route)
        tier = guard.rollback_verdict() if guard is not None else None
        if tier is not None and tier.kind == "rollback":
            return tier
        settings = self._guard_settings(route)
        bake_s = self.file.routes[route].ramp.bake_s if route in self.file.routes else 0
        since_raise = now - self._raises.newest(route, org)
        evidence_s = min(max(bake_s, settings.window_s), since_raise, self._windows.horizon_s)
        evidence = self._windows.summary(now, evidence_s, route=route, org=org)
        found = hold_tier(
            settings,
            recent=_counts(summary),
            evidence=_counts(evidence),
            p95_ms=summary.p95,
            age_s=None if summary.last_at is None else now - summary.last_at,
            bake_left_s=max(bake_s - since_raise, 0.0),
        )
        return found if tier is None or tier.kind == "ok" else tier

    def _guard_settings(self, route: str | None) -> GuardSettings:
        found = self.file.routes.get(route) if route is not None else None
        return self.file.guard if found is None else found.guard

    def _window_s(self, route: str | None) -> int:
        return min(self._guard_settings(route).window_s, 3600)


def _counts(summary: Summary) -> Counts:
    def of(percent: float) -> int:
        return round(percent * summary.requests / 100)

    return Counts(
        requests=summary.requests,
        contract=of(summary.percent_4xx),
        gateway=of(summary.percent_5xx),
        limited=of(summary.percent_429),
    )


def _was_a_raise(change: Change) -> bool:
    if change.action == "set":
        return Decimal(change.after) > Decimal(change.before)
    return change.action in ("resume", "undo", "restore")


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} m ago"
