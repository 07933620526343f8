"""Access log ingestion: time series and figures, the proof of a rollback, misrouted requests."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rollout_console.changes.spread import Spread
from rollout_console.common.durations import going_on, set_back
from rollout_console.common.listing import counted
from rollout_console.guard.evidence.org_bins import OrgBins
from rollout_console.guard.health_source import (
    NOT_TOLD,
    Place,
    drawn_points,
    open_source,
    place_of,
    spread,
)
from rollout_console.guard.line_quality import LineQuality
from rollout_console.guard.misrouted import FarShare, Misrouted, MisroutedRequests
from rollout_console.guard.proof import Proof, not_given, on_servers, proof_of
from rollout_console.guard.unsent import UnsentRequests
from rollout_console.guard.writer_clocks import WriterClocks
from rollout_console.guard.writers import Writers, WritersBehind
from rollout_console.health.log.lines import Unusable
from rollout_console.health.log.multi_file import Log
from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.batch import LABELS
from rollout_console.health.windows.bins import Bins
from rollout_console.health.windows.codes import is_request
from rollout_console.health.windows.count_batch import CountBatch, Counted
from rollout_console.health.windows.summary import Summary
from rollout_console.health.windows.top_errors import ErrorGroup, TopErrors
from rollout_console.health.windows.windows import Windows
from rollout_gate.file.model import GuardSettings, RolloutFile, Side

if TYPE_CHECKING:
    from rollout_console.health.backfill.reader import Backfill, Part
    from rollout_console.health.prometheus.feed import PrometheusFeed

STALE_S = 15.0
"""Seconds without a log line after which the figures on screen are stale."""

COLD_BYTES = 32 * 1024 * 1024
"""Default bytes of an existing log that are read at the start: its newest."""

FIRST_BYTES = 4 * 1024 * 1024
OLDER_BYTES = 1024 * 1024 * 1024
"""The newest bytes of an existing log that the console reads at the start, and the limit of older
bytes that the backfill workers of a long-running process (console, guard) read."""

HISTORY_S = 24 * 3600.0
"""Seconds since a rotated log's modification within which it is read at the start, where the log
itself is shorter than the bytes to read."""

ANSWER_S = 20.0
"""Seconds that a one-shot command waits for Prometheus at most."""

SET_BACK_S = 2.0
"""By how many seconds the clock is set back for what was seen before to be dated anew."""

_PIECE_BYTES = 512 * 1024
_TOLD_S = 30.0
_LEAST_S = 1.0
_MOST_SEEN = 20_000
"""Limit of the org ids seen in the log that are kept for a route: ids are untrusted input."""


class Routing(NamedTuple):
    """What lines of the log say against their routing, by the evidence; gravest first."""

    misrouted: Sequence[MisroutedRequests]
    behind: Sequence[WritersBehind]
    far_shares: Sequence[FarShare]


Servers = Callable[[], Spread | None]
"""Returns who has applied the version of now; None for a file that is of this host alone."""


class Watch:
    """Follows the access log of one rollout file, and aggregates it.

    ``read`` does the file I/O and may run in a worker thread; everything else belongs to the
    thread that owns the watch. ``now`` is passed in, in epoch seconds; only the age of the log
    file and the timeout of messages use the system clock.
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
        self._path = path
        self._servers = servers
        self._cold_bytes = cold_bytes
        self._older_bytes = older_bytes
        self._place: Place | None = None
        self._follower: Log
        self.prometheus: PrometheusFeed | None = None
        self._replaced: list[Log] = []
        self.file = file
        written_at = 0.0
        with suppress(OSError):
            written_at = path.stat().st_mtime
        self.strays = Misrouted(file, written_at)
        self.writers = Writers(file, written_at)
        self.unsent = UnsentRequests()
        self.writer_clocks = WriterClocks()
        self._follow_log()

    def configure(self, file: RolloutFile, now: float) -> None:
        """Switch to a new version of the file, and to its access log if that is another."""
        self.file = file
        self.strays.configure(file, now)
        self.writers.configure(file, now)
        self._follow_log()

    def _follow_log(self) -> None:
        """Follow the log or the Prometheus that the file names; another one resets all figures."""
        place = place_of(self._path, self.file)
        if place == self._place:
            return
        if self._place is not None:
            self._end_older()
            # A worker thread may be reading it now, so the next read closes it.
            self._replaced.append(self._follower)
        self._place = place
        self._added_at = -inf
        self.set_back_s = 0.0
        """By how many seconds the clock was set back last."""
        self._read_to_end_at = -inf
        self._follower, self.prometheus = open_source(
            place, self._path, self.file, cold_bytes=self._cold_bytes, history_s=HISTORY_S,
            older_bytes=self._older_bytes,
        )  # fmt: skip
        self._older: Backfill | None = None
        self._older_until = -inf
        self._older_told = ("", 0.0)
        self._windows = Windows()
        self._bins = Bins(self._windows)
        self._org_bins = OrgBins(self._windows)
        self._label_bins = {label: OrgBins(self._windows, label) for label in LABELS}
        self._errors = TopErrors()
        self._seen: dict[str, dict[str, None]] = defaultdict(dict)
        self.last_line_at = 0.0
        self._lines = 0
        self._quality = LineQuality()

    @property
    def log_path(self) -> Path:
        """The access log of the file."""
        assert self._place is not None
        return self._place[0]

    @property
    def unusable(self) -> Unusable:
        """The count of lines that are not access-log records, and what is wrong with the first."""
        found = self._follower.unusable
        return self._older.unusable.plus(found) if self._older is not None else found

    @property
    def lines(self) -> int:
        """The count of usable lines, backfill included."""
        return self._lines + (self._older.lines if self._older is not None else 0)

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
            return self._quality.unusable_words(self.unusable, now)
        lines, why = self.unusable
        words = f"{counted(lines, 'series', 'series')} of Prometheus cannot be used"
        return f"{words}; the first: {why}" if lines else ""

    def skew_words(self, now: float) -> str:
        """Return the count of lines dated ahead of this host's clock; empty a while after them."""
        return self._quality.skew_words(now)

    def mostly_unusable(self, now: float) -> bool:
        """Whether so many of the newest lines are unusable that figures are not to be trusted."""
        return self._quality.mostly_unusable(now)

    def clock_words(self, now: float) -> str:
        """Return why times in the log cannot be relied on; empty where they can."""
        spread = self.spread
        own = "" if spread is None else spread.own_clock_problem
        return own or self.skew_words(now) or self.writer_clocks.words(now)

    @property
    def behind(self) -> bool:
        """Whether the last read stopped before end of file."""
        return self._follower.behind

    @property
    def reads_older(self) -> bool:
        """Whether the backfill is still running."""
        if self.prometheus is not None:
            return self.prometheus.reads_past
        return self._older is not None and not self._older.over

    def read(self) -> tuple[Sequence[AccessRecord], str]:
        """Return new records, from at most _PIECE_BYTES, and an error sentence or an empty one."""
        self._close_replaced()
        records = self._follower.poll(max_bytes=_PIECE_BYTES)
        told, until = self._older_told
        return records, self._follower.trouble or (told if time.monotonic() < until else "")

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Ingest access-log records, or the counts of Prometheus that have arrived."""
        if now < self._added_at - SET_BACK_S:
            self.set_back_s = self._added_at - now
            self._set_back(now, self.set_back_s)
        self._added_at = now
        if self.prometheus is not None:
            self._add_counts(self.prometheus.take(), now)
            return
        seen = self._windows.add(records, now)
        if records:
            oldest = min(min(one.ts for one in records).timestamp(), now)
            self._org_bins.changed(seen, oldest)
            for label, names in self._windows.labels_seen.items():
                self._label_bins[label].changed(names, oldest)
        self._errors.add(records, now)
        self._lines += len(records)
        # Unusable lines have no timestamp: the log's mtime dates them the same in every process.
        self._quality.arrived(len(records), self.unusable.lines, now - self._idle_s())
        for route, org, _ in seen:
            self._see(route, org)
        self.last_line_at = max(self.last_line_at, *seen.values(), 0.0)
        self.strays.add(records, seen, now)
        self.writers.add(records, now)
        self.unsent.add(records, now)
        if records and self._read_to_end_at > -inf:
            self.writer_clocks.add(records, self._read_to_end_at, now, is_all=not self.behind)
        if not self.behind:
            self._read_to_end_at = now
        self._quality.skewed(self._windows.skewed, now)

    def _set_back(self, now: float, by: float) -> None:
        """Date what is in the future by ``by`` seconds less: the clock was set back."""
        self.last_line_at = set_back(self.last_line_at, now, by)
        self._windows.set_back(now, by)
        self.strays.set_back(now, by)
        self.writers.set_back(now, by)
        self.writer_clocks.set_back()
        self.unsent.set_back(now, by)

    def _add_counts(self, found: Sequence[Counted], now: float) -> None:
        if not found:
            return
        windows = self._windows
        seen = windows.take(CountBatch(windows.kept.levels, now, found))
        self._org_bins.changed(seen, min(one.at for one in found))
        self._lines += sum(
            count for one in found for code, count in one.counts.items() if is_request(code)
        )
        for route, org, _ in seen:
            self._see(route, org)

    def _logged_hosts(self, now: float) -> int | None:
        """Return how many hosts have lines in the log now; None where a Prometheus has all."""
        return None if self.file.prometheus is not None else self.writers.count(now)

    def routing(self, now: float) -> Routing:
        """Return the evidence against the routing: misrouted requests and writers behind."""
        strays = self.strays
        return Routing(strays.found(now), self.writers.found(now), strays.far_shares(now))

    def _idle_s(self) -> float:
        """Return the seconds since the log was last written to (mtime); 0 if unreadable."""
        try:
            return max(time.time() - self.log_path.stat().st_mtime, 0.0)
        except OSError:
            return 0.0

    def catch_up(self, now: float, most_s: float = ANSWER_S) -> None:
        """Read the log to its end and wait for the backfill; for one-shot commands.

        Prometheus is waited for ``most_s`` seconds at most.
        """
        end = time.monotonic() + most_s
        self._go_on(now, wait=True)
        while self.prometheus is not None and self.prometheus.reads_past:
            if not self.prometheus.wait(end - time.monotonic()):
                break
            self._go_on(now, wait=False)

    def go_on(self, now: float) -> None:
        """Read new lines, and merge the backfill parts that have arrived, without waiting."""
        self._go_on(now, wait=False)

    def _go_on(self, now: float, *, wait: bool) -> None:
        clock = going_on(now)  # lines that are written during a long read are not dated ahead
        while True:
            records, _ = self.read()
            self.add(records, clock())
            older = self.older(now) or self._older
            if not records and not self.behind:
                break
        if older is not None and not older.over:
            for part in older.ready(wait=wait):
                self.add_older(older, part)

    def older(self, now: float) -> "Backfill | None":
        """Start the backfill of the lines before the first one read; None if there are none.

        It is returned once, after a read; the caller passes its parts to ``add_older``.
        """
        stretches = self._follower.take_older()
        if not stretches:
            return None
        from rollout_console.health.backfill.reader import Backfill

        self._older_until = self._follower.begins_at
        self._older = Backfill(stretches, self._windows, self._errors, now)
        return self._older

    def close(self) -> None:
        """Close the log and kill the backfill workers; no read may be in progress."""
        self._end_older()
        self._close_replaced()
        self._follower.close()

    def _end_older(self) -> None:
        if self._older is not None:
            self._older.close()

    def _close_replaced(self) -> None:
        while self._replaced:
            self._replaced.pop().close()

    def add_older(self, older: "Backfill", part: "Part | None") -> None:
        """Merge a part of the backfill; one of a log that was followed before is discarded."""
        if older is not self._older:
            older.close()
            return
        older.take(part)
        for reader in (self._org_bins, *self._label_bins.values()):
            reader.reset()
        if older.over:
            self._quality.arrived(older.lines, self.unusable.lines)
            self._older_told = (older.trouble, time.monotonic() + _TOLD_S)
            for route, org, _ in self._windows.kept.tracks:
                if route is not None and org is not None:
                    self._see(route, org)

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
        proof = proof_of(last, other, since, now, seen_until)
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

    @property
    def _begins_at(self) -> float:
        """The epoch second since which all lines were read; -inf where none were left out."""
        begins_at = self._follower.begins_at
        if self._older is not None and self._older.complete and begins_at == self._older_until:
            return self._older.begins_at
        return begins_at  # later than the end of the backfill if there was a gap since

    def _covered_s(self, window_s: float, now: float) -> float:
        """Return a window shortened to what the log covers, in seconds."""
        return min(window_s, max(now - self._begins_at, _LEAST_S))

    def _see(self, route: str, org: str) -> None:
        if len(self._seen[route]) < _MOST_SEEN:
            self._seen[route][org] = None

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
