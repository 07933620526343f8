"""Access log ingestion: time series and figures, the proof of a rollback, misrouted requests."""

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rollout_console.common.folders import folder_of
from rollout_console.guard.evidence.org_bins import OrgBins
from rollout_console.guard.misrouted import FarShare, Misrouted, MisroutedRequests
from rollout_console.guard.writers import Writers, WritersBehind
from rollout_console.health.log.lines import Unusable
from rollout_console.health.log.multi_file import Log, open_log
from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.batch import LABELS
from rollout_console.health.windows.bins import Bins
from rollout_console.health.windows.summary import Summary
from rollout_console.health.windows.top_errors import ErrorGroup, TopErrors
from rollout_console.health.windows.windows import Windows
from rollout_gate.file.model import GuardSettings, RolloutFile, Side

if TYPE_CHECKING:
    from rollout_console.health.backfill.reader import Backfill, Part

QUIET_S = 5.0
"""Seconds without a TokenLab request after which a rolled back org counts as drained."""

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

UNUSABLE_S = 300.0
"""Seconds that unusable lines are reported for after the last of them."""

MUCH_UNUSABLE = 0.01
"""The share of unusable lines (0 to 1) above which a log's figures are not to be trusted."""

_ARRIVALS = 600
_PIECE_BYTES = 512 * 1024
_TOLD_S = 30.0
_LEAST_S = 1.0
_MOST_SEEN = 20_000
"""Limit of the org ids seen in the log that are kept for a route: ids are untrusted input."""


class Proof(msgspec.Struct, frozen=True):
    """What the log shows of a rollback; ``drained`` is never set without traffic as evidence."""

    drained: bool
    text: str


class Routing(NamedTuple):
    """What lines of the log say against their routing, by the evidence; gravest first."""

    misrouted: Sequence[MisroutedRequests]
    behind: Sequence[WritersBehind]
    far_shares: Sequence[FarShare]


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
    ) -> None:
        self._path = path
        self._cold_bytes = cold_bytes
        self._older_bytes = older_bytes
        self._log_path: Path | None = None
        self._follower: Log
        self._replaced: list[Log] = []
        self.file = file
        written_at = 0.0
        with suppress(OSError):
            written_at = path.stat().st_mtime
        self.strays = Misrouted(file, written_at)
        self.writers = Writers(file, written_at)
        self._follow_log()

    def configure(self, file: RolloutFile, now: float) -> None:
        """Switch to a new version of the file, and to its access log if that is another."""
        self.file = file
        self.strays.configure(file, now)
        self.writers.configure(file, now)
        self._follow_log()

    def _follow_log(self) -> None:
        """Follow the log that the file names; a change of path resets all figures."""
        file = self.file
        log_path = (folder_of(self._path) / file.access_log).absolute()
        if log_path == self._log_path:
            return
        if self._log_path is not None:
            self._end_older()
            # A worker thread may be reading it now, so the next read closes it.
            self._replaced.append(self._follower)
        self._log_path = log_path
        self._follower = open_log(
            log_path,
            start="tail",
            tail_bytes=self._cold_bytes,
            history_s=HISTORY_S,
            older_bytes=self._older_bytes,
        )
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
        self._unusable_known = 0
        self._unusable_at = -inf
        self._skewed_known = 0
        self._skewed_at = -inf
        self._arrived: deque[tuple[float, int, int]] = deque(maxlen=_ARRIVALS)

    @property
    def log_path(self) -> Path:
        """The access log that is followed."""
        assert self._log_path is not None
        return self._log_path

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
        log, guards = self._follower, [route.guard for route in self.file.routes.values()]
        modes = {mode for one in guards for mode in (one.mode, *one.modes.values())}
        blind = log.unreadable or (log.missing and "enforce" in modes)
        return f"no request is seen: {log.trouble}" if blind else ""

    def unusable_words(self, now: float) -> str:
        """Return the count and reason of unusable lines; empty UNUSABLE_S after the last of them.

        They are not counted as requests, so without this warning they would look like no traffic.
        """
        lines, why = self.unusable
        if not lines or abs(now - self._unusable_at) > UNUSABLE_S:
            return ""
        word = "line" if lines == 1 else "lines"
        return f"{lines:,} {word} of the access log cannot be used; the first: {why}"

    def skew_words(self, now: float) -> str:
        """Return the count of lines dated ahead of this host's clock; empty a while after them."""
        if abs(now - self._skewed_at) > UNUSABLE_S:
            return ""
        lines = self._skewed_known
        word = "line is" if lines == 1 else "lines are"
        return (
            f"{lines:,} {word} dated ahead of this host's clock: set the clocks; verdicts are wrong"
            " meanwhile"
        )

    def _note_skew(self, now: float) -> None:
        known, self._skewed_known = self._skewed_known, self._windows.skewed
        if self._skewed_known > known:
            self._skewed_at = now

    def mostly_unusable(self, now: float) -> bool:
        """Whether over MUCH_UNUSABLE of the last UNUSABLE_S seconds' lines are unusable."""
        since = now - UNUSABLE_S
        usable = sum(one for at, one, _ in self._arrived if at >= since)
        unusable = sum(one for at, _, one in self._arrived if at >= since)
        return unusable > MUCH_UNUSABLE * (usable + unusable)

    @property
    def behind(self) -> bool:
        """Whether the last read stopped before end of file."""
        return self._follower.behind

    @property
    def reads_older(self) -> bool:
        """Whether the backfill is still running."""
        return self._older is not None and not self._older.over

    def read(self) -> tuple[Sequence[AccessRecord], str]:
        """Return new records, from at most _PIECE_BYTES, and an error sentence or an empty one."""
        self._close_replaced()
        records = self._follower.poll(max_bytes=_PIECE_BYTES)
        told, until = self._older_told
        return records, self._follower.trouble or (told if time.monotonic() < until else "")

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Ingest access-log records."""
        seen = self._windows.add(records, now)
        if records:
            oldest = min(min(one.ts for one in records).timestamp(), now)
            self._org_bins.changed(seen, oldest)
            for label, names in self._windows.labels_seen.items():
                self._label_bins[label].changed(names, oldest)
        self._errors.add(records, now)
        self._lines += len(records)
        # Unusable lines have no timestamp: the log's mtime dates them the same in every process.
        self._note_arrival(len(records), now - self._idle_s())
        for route, org, _ in seen:
            self._see(route, org)
        self.last_line_at = max(self.last_line_at, *seen.values(), 0.0)
        self.strays.add(records, seen, now)
        self.writers.add(records, now)
        self._note_skew(now)

    def routing_problems(self, now: float) -> list[str]:
        """Return what lines of the log say against their routing, gravest first."""
        return [one.sentence for some in self.routing(now) for one in some]

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

    def _note_arrival(self, usable: int, now: float) -> None:
        """Count the usable and unusable lines that arrived in this second."""
        known, self._unusable_known = self._unusable_known, self.unusable.lines
        unusable = self._unusable_known - known
        if unusable:
            self._unusable_at = now
        if not usable and not unusable:
            return
        if self._arrived and self._arrived[-1][0] > now - 1:
            at, before, more = self._arrived.pop()
            self._arrived.append((at, before + usable, more + unusable))
        else:
            self._arrived.append((now, usable, unusable))

    def catch_up(self, now: float) -> None:
        """Read the log to its end and wait for the backfill; for one-shot commands."""
        self._go_on(now, wait=True)

    def go_on(self, now: float) -> None:
        """Read new lines, and merge the backfill parts that have arrived, without waiting."""
        self._go_on(now, wait=False)

    def _go_on(self, now: float, *, wait: bool) -> None:
        while True:
            records, _ = self.read()
            self.add(records, now)
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
            self._note_arrival(older.lines, self._arrived[-1][0] if self._arrived else 0.0)
            self._older_told = (older.trouble, time.monotonic() + _TOLD_S)
            for route, org, _ in self._windows.kept.tracks:
                if route is not None and org is not None:
                    self._see(route, org)

    def seen_orgs(self) -> dict[str, Iterable[str]]:
        """Return, by route, the orgs that occur in the log."""
        return {route: orgs.keys() for route, orgs in self._seen.items()}

    def age_s(self, now: float) -> float | None:
        """Return the age of the newest line in seconds; None before there was one."""
        return now - self.last_line_at if self.last_line_at else None

    def summary(self, route: str | None, org: str | None, side: Side, now: float) -> Summary:
        """Return the figures of a side over the guard's window of the route."""
        return self.figures(route, org, side, now, self._window_s(route))

    def series(
        self, metric: str, route: str | None, side: Side, now: float, window_s: float, points: int
    ) -> Sequence[float | None]:
        """Return a metric as a time series of ``points`` values, None without a request."""
        return self._windows.series(now, window_s, points, metric, route=route, side=side)

    def figures(
        self, route: str | None, org: str | None, side: Side, now: float, window_s: float
    ) -> Summary:
        """Return the figures of a side over any window, shortened to what the log covers."""
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
        """Return a time series as ``series`` does, of one org where one is named."""
        return self._windows.series(now, window_s, points, metric, route=route, org=org, side=side)

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
        return self._windows.class_series(now, window_s, points, route=route, org=org, side=side)

    def top_errors(
        self, route: str | None, org: str | None, now: float, window_s: float
    ) -> list[ErrorGroup]:
        """Return the most frequent errors of both sides."""
        return self._errors.top(now, window_s, route=route, org=org)

    def kept_s(self, org: str | None, now: float) -> float:
        """Return how far back figures reach, in seconds: of single orgs, or (None) of routes."""
        return max(min(self._windows.kept_s(org, now), now - self._begins_at), 0.0)

    def last_seen(self, route: str | None, org: str | None, side: Side) -> float | None:
        """Return when a request was last seen, in epoch seconds; None if never."""
        return self._windows.last_seen(route, org, side)

    def proof(self, route: str | None, org: str | None, since: float, now: float) -> Proof:
        """Return what the log shows since a rollback at ``since`` (epoch seconds)."""
        last = self.last_seen(route, org, "tokenlab")
        other = self.last_seen(route, org, "previous")
        if last is None and other is None:
            return Proof(False, "no request seen yet")
        quiet = now - max(last or 0.0, since)
        age = "no TokenLab request" if last is None else f"last TokenLab request {_ago(now - last)}"
        took = max((last or 0.0) - since, 0.0)
        if last is None or last < since - QUIET_S:  # no traffic to drain before the rollback
            goes_on = other is not None and other > since
            return Proof(goes_on and quiet >= QUIET_S, f"was quiet before · {age}")
        if quiet >= QUIET_S and other is not None and other > since:
            return Proof(True, f"drained in {took:.0f} s · {age}")
        if quiet >= QUIET_S:
            return Proof(False, f"{age} · no request to previous either yet")
        return Proof(False, f"draining · {age}")

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


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} m ago"
