"""What the access log shows: time series, figures, the proof of a rollback, misrouted requests."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rollout_console.changes.spread import Spread
from rollout_console.common.listing import counted
from rollout_console.guard.health_source import NOT_TOLD, drawn_points, spread
from rollout_console.guard.ingestion import COLD_BYTES, Ingestion
from rollout_console.guard.misrouted import FarShare, MisroutedRequests
from rollout_console.guard.proof import SLOWEST_OF_S, Proof, not_given, on_servers, proof_of
from rollout_console.guard.writers import WritersBehind
from rollout_console.health.log.record import StatusClass
from rollout_console.health.windows.summary import Summary
from rollout_console.health.windows.top_errors import ErrorGroup
from rollout_gate.file.model import GuardSettings, RolloutFile, Side

STALE_S = 15.0
"""Seconds without a log line after which the figures on screen are stale."""

_LEAST_S = 1.0


class Routing(NamedTuple):
    """What lines of the log say against their routing, by the evidence; gravest first."""

    misrouted: Sequence[MisroutedRequests]
    behind: Sequence[WritersBehind]
    far_shares: Sequence[FarShare]


Servers = Callable[[], Spread | None]
"""Returns who has applied the version of now; None for a file that is of this host alone."""


class Watch(Ingestion):
    """Tells figures, trouble and proof by what was ingested: to screens, commands and guard."""

    def __init__(
        self,
        path: Path,
        file: RolloutFile,
        *,
        cold_bytes: int = COLD_BYTES,
        older_bytes: int = 0,
        servers: Servers = lambda: None,
    ) -> None:
        """``cold_bytes`` and ``older_bytes`` of an existing log are read, its newest first."""
        self._servers = servers
        super().__init__(path, file, cold_bytes=cold_bytes, older_bytes=older_bytes)

    @property
    def log_trouble(self) -> str:
        """Why the guard is blind: the log cannot be read, or is missing while one may roll back.

        Empty where neither is so; before the first request a log is missing anyway.
        """
        if self.prometheus is not None:
            return self.prometheus.trouble
        log, guards = self._follower, [route.guard for route in self.file.routes.values()]
        modes = {mode for one in guards for mode in (one.mode, *one.modes.values())}
        blind = log.unreadable or (log.missing and "enforce" in modes)
        seen = "not all requests are" if log.is_partial else "no request is"
        return f"{seen} seen: {log.trouble}" if blind else ""

    def unusable_words(self, now: float) -> str:
        """Return the count and reason of lines, or series, that cannot be used; empty without."""
        if self.prometheus is None:
            return self._quality.unusable_words(now)
        lines, why = self.unusable
        words = f"{counted(lines, 'series', 'series')} of Prometheus cannot be used"
        return f"{words}; the first: {why}" if lines else ""

    def skew_words(self, now: float) -> str:
        """Return the count of lines dated ahead of this host's clock; empty a while after them."""
        return self._quality.skew_words(now)

    def unusable_lately(self, now: float) -> int:
        """Return how many lines cannot be used of those that ``unusable_words`` is about."""
        return self._quality.unusable_lately(now).lines

    def mostly_unusable(self, now: float) -> bool:
        """Whether so many of the newest lines are unusable that figures are not to be trusted."""
        return self._quality.mostly_unusable(now)

    def clock_words(self, now: float) -> str:
        """Return why times in the log cannot be relied on; empty where they can."""
        spread = self.spread
        own = "" if spread is None else spread.own_clock_problem
        return own or self.skew_words(now) or self.writer_clocks.words(now)

    def _logged_hosts(self, now: float) -> int | None:
        """Return how many hosts have lines in the log now; None where a Prometheus has all."""
        return None if self.file.prometheus is not None else self.writers.count(now)

    def routing(self, now: float) -> Routing:
        """Return the evidence against the routing: misrouted requests and writers behind."""
        strays = self.strays
        return Routing(strays.found(now), self.writers.found(now), strays.far_shares(now))

    def seen_orgs(self) -> dict[str, Iterable[str]]:
        """Return, by route, the orgs that occur in the log."""
        return {route: orgs.keys() for route, orgs in self._seen.items()}

    def age_s(self, now: float) -> float | None:
        """Return the age of the newest line in seconds; None before there was one.

        Of Prometheus it is that of its newest answer, as one without a request is as good.
        """
        if self.prometheus is not None:
            state = self.prometheus.state
            return max(now - state.until, 0.0) if state is not None and state.until else None
        return max(now - self.last_line_at, 0.0) if self.last_line_at else None

    @property
    def stale_after_s(self) -> float:
        """The age in seconds from which on what is shown is stale."""
        return STALE_S if self.prometheus is None else self.prometheus.stale_after_s

    @property
    def is_asking(self) -> bool:
        """Whether Prometheus has not answered yet, which is no problem."""
        return self.prometheus is not None and self.prometheus.state is None

    @property
    def least_step_s(self) -> int:
        """The width in seconds under which a point of a chart has no count of its own."""
        return 1 if self.prometheus is None else self.prometheus.step_s

    @property
    def source_words(self) -> str:
        """What is not told where Prometheus has the figures; empty for the access log."""
        return "" if self.prometheus is None else NOT_TOLD

    @property
    def reading_words(self) -> str:
        """What is going on while the past is read."""
        return "reading the log…" if self.prometheus is None else "reading Prometheus…"

    @property
    def lacks(self) -> frozenset[str]:
        """The metrics of ``series`` that the source does not have, which are no 0."""
        return frozenset() if self.prometheus is None else self.prometheus.lacks

    def as_of(self, now: float) -> float:
        """Return the time that figures are of: now, or until when Prometheus was read."""
        return now if self.prometheus is None else self.prometheus.as_of(now)

    def no_figures(self, now: float) -> str:
        """Return why there is no figure to judge by, of Prometheus; empty where there is."""
        return "" if self.prometheus is None else self.prometheus.trouble_at(now)

    def source_trouble(self, now: float) -> str:
        """Return what is wrong with Prometheus, or with the servers it scrapes; empty if nothing.

        Scrape targets that are down are missing from the figures, so these prove neither health nor
        a drained rollback. The errors of the other targets are evidence all the same.
        """
        unscraped = "" if self.prometheus is None else self.prometheus.unscraped
        return self.no_figures(now) or unscraped

    def summary(self, route: str | None, org: str | None, side: Side, now: float) -> Summary:
        """Return the figures of a side over the guard's window of the route."""
        return self.figures(route, org, side, now, self._window_s(route))

    def series(
        self, metric: str, route: str | None, side: Side, now: float, window_s: float, points: int
    ) -> Sequence[float | None]:
        """Return a metric as a time series of ``points`` values, None without a request."""
        return self.org_series(metric, route, None, side, now, window_s, points)

    def figures(
        self, route: str | None, org: str | None, side: Side, now: float, window_s: float
    ) -> Summary:
        """Return the figures of a side over any window, shortened to what the log covers."""
        now = self.as_of(now)
        window_s = self._covered_s(window_s, now)
        return self._windows.summary(now, window_s, route=route, org=org, side=side)

    def org_series(
        self,
        metric: str,
        route: str | None,
        org: str | None,
        side: Side,
        now: float,
        window_s: float,
        points: int,
    ) -> Sequence[float | None]:
        """Return a time series as ``series`` does, of one org where one is named.

        Points that are narrower than a step of Prometheus have the value of their step.
        """
        if metric in self.lacks:
            return [None] * points
        now, drawn = self.as_of(now), points
        if self.prometheus is not None:
            drawn = drawn_points(window_s, points, self.prometheus.step_s)
        found = self._windows.series(now, window_s, drawn, metric, route=route, org=org, side=side)
        return found if drawn == points else spread(found, points)

    def class_series(
        self,
        route: str | None,
        org: str | None,
        side: Side,
        now: float,
        window_s: float,
        points: int,
    ) -> dict[StatusClass, list[int]]:
        """Return a time series of request counts for each status class."""
        now = self.as_of(now)
        return self._windows.class_series(now, window_s, points, route=route, org=org, side=side)

    def top_errors(
        self, route: str | None, org: str | None, now: float, window_s: float
    ) -> list[ErrorGroup]:
        """Return the most frequent errors of both sides."""
        return self._errors.top(now, window_s, route=route, org=org)

    def kept_s(self, org: str | None, now: float) -> float:
        """Return how far back figures reach, in seconds: of single orgs, or (None) of routes."""
        now = self.as_of(now)
        return max(min(self._windows.kept_s(org, now), now - self._begins_at), 0.0)

    def last_seen(self, route: str | None, org: str | None, side: Side) -> float | None:
        """Return when a request was last seen, in epoch seconds; None if never."""
        return self._windows.last_seen(route, org, side)

    @property
    def spread(self) -> Spread | None:
        """Who has applied the version of now, of a file that several hosts share; else None."""
        return self._servers()

    def proof(self, route: str | None, org: str | None, since: float, now: float) -> Proof:
        """Return what the log shows since a rollback at ``since`` (epoch seconds)."""
        last = self.last_seen(route, org, "tokenlab")
        other = self.last_seen(route, org, "previous")
        if other is not None and self.prometheus is not None:
            other -= 2 * self.prometheus.step_s  # the earliest time that its requests can be from
        seen_until = self.as_of(now) - self.writer_clocks.most_s(now)

        def slowest_s() -> float:
            longest = self.figures(route, org, "tokenlab", now, now - since + SLOWEST_OF_S).longest
            return 0.0 if longest is None else longest / 1000

        proof = proof_of(last, other, since, now, seen_until, slowest_s)
        late = self.writer_clocks.named(now)
        if late and not proof.drained:
            proof = not_given(proof, f"not known of {late}, whose lines are dated long ago")
        if unseen := self.unseen(now) or self._unread:
            proof = not_given(proof, f"not known: {unseen}")
        spread = self.spread
        return proof if spread is None else on_servers(proof, spread, self._logged_hosts(now))

    def unseen(self, now: float) -> str:
        """Return why requests may not be seen: nothing is known to be well; empty if they are."""
        if self.prometheus is None and self._follower.unreadable:
            return self._follower.trouble
        return self.source_trouble(now)

    @property
    def _unread(self) -> str:
        """Why no request of now is seen in the access log, so that none is no sign of quiet."""
        if self.prometheus is not None:
            return ""
        if self._follower.missing and self.last_line_at:
            return "the access log is away"
        return "the access log is still being read" if self.behind else ""

    def _covered_s(self, window_s: float, now: float) -> float:
        """Return a window shortened to what the log covers, in seconds."""
        return min(window_s, max(now - self._begins_at, _LEAST_S))

    def _guard_settings(self, route: str | None) -> GuardSettings:
        found = self.file.routes.get(route) if route is not None else None
        return self.file.guard if found is None else found.guard

    def window_s(self, route: str | None) -> int:
        """Return the guard's window of a route in seconds, which its figures are of."""
        return self._window_s(route)

    def limit_of(self, route: str | None, metric: str) -> float | None:
        """Return the guard's limit of a metric of ``series``, in its unit; None without one."""
        limits = self._guard_settings(route)
        return {
            "4xx": limits.max_4xx_percent, "5xx": limits.max_5xx_percent, "p95": limits.max_p95_ms,
        }.get(metric)  # fmt: skip

    def _window_s(self, route: str | None) -> int:
        return min(self._guard_settings(route).window_s, 3600)
