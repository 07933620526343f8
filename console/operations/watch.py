"""What the access log shows: figures over time, the proof of a rollback, requests gone astray."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from console.health.log_set import open_log
from console.health.record import AccessRecord, StatusClass
from console.health.summary import Summary
from console.health.top_errors import ErrorGroup, TopErrors
from console.health.windows import Windows
from console.operations.strays import Strays
from console.rollout.model import GuardSettings, RolloutFile, Side

QUIET_S = 5.0
"""A rolled back org that sent nothing to TokenLab for this long has drained."""

STALE_S = 15.0
"""Without a line of log for this long, the figures on screen are old."""

COLD_BYTES = 32 * 1024 * 1024
"""How much of a log that is there already is read at the start."""

HISTORY_S = 24 * 3600.0
"""How old a rotated log may be to be read at the start, where the log itself is short."""

_PIECE_BYTES = 2 * 1024 * 1024
_MOST_SEEN = 20_000
"""Orgs without a line of their own that are kept for a route; an id can be anything at all."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the log shows of a rollback. ``drained`` is never said without traffic to show it."""

    drained: bool
    text: str


class Watch:
    """Follows one access log for one rollout file.

    ``read`` does the reading and may run in another thread; everything else belongs to the
    thread that owns the watch. Times are epoch seconds and are always passed in.
    """

    piece = 5_000
    """A read of at least this many records is followed by another at once."""

    def __init__(self, path: Path, file: RolloutFile, *, cold_bytes: int = COLD_BYTES) -> None:
        self._path = path
        self._cold_bytes = cold_bytes
        self._log_path: Path | None = None
        self.file = file
        written_at = 0.0
        with suppress(OSError):
            written_at = path.stat().st_mtime
        self.strays = Strays(file, written_at)
        self._follow_log()

    def configure(self, file: RolloutFile, now: float) -> None:
        """Take over a new version of the file."""
        self.file = file
        self.strays.configure(file, now)
        self._follow_log()

    def _follow_log(self) -> None:
        """Follow the log that the file names; another one begins with nothing known."""
        file = self.file
        log_path = (self._path.parent / file.access_log).absolute()
        if log_path == self._log_path:
            return
        self._log_path = log_path
        self._follower = open_log(
            log_path, start="tail", tail_bytes=self._cold_bytes, history_s=HISTORY_S
        )
        self._windows = Windows()
        self._errors = TopErrors()
        self._seen: dict[str, dict[str, None]] = defaultdict(dict)
        self.last_line_at = 0.0
        self.lines = 0

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
        seen = self._windows.add(records, now)
        self._errors.add(records, now)
        self.lines += len(records)
        for route, org, _ in seen:
            if len(self._seen[route]) < _MOST_SEEN:
                self._seen[route][org] = None
        self.last_line_at = max(self.last_line_at, *seen.values(), 0.0)
        self.strays.add(records, seen)

    def catch_up(self, now: float) -> None:
        """Read all there is; for commands, which look once."""
        while True:
            records, _ = self.read()
            self.add(records, now)
            if not records and not self._follower.behind:
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

    def figures(
        self, route: str | None, org: str | None, side: Side, now: float, window_s: float
    ) -> Summary:
        """Return the figures of a side over any window."""
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
        """Return a metric over time as ``series`` does, of one org where one is named."""
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
        """Return the requests of each class over time."""
        return self._windows.class_series(now, window_s, points, route=route, org=org, side=side)

    def top_errors(
        self, route: str | None, org: str | None, now: float, window_s: float
    ) -> list[ErrorGroup]:
        """Return the errors there were most of, of both sides."""
        return self._errors.top(now, window_s, route=route, org=org)

    def kept_s(self, org: str | None, now: float) -> float:
        """Return how far back the figures of single orgs reach, or those of whole routes."""
        return self._windows.kept_s(org, now)

    def last_seen(self, route: str | None, org: str | None, side: Side) -> float | None:
        """Return when a request was last seen; None if never."""
        return self._windows.last_seen(route, org, side)

    def proof(self, route: str | None, org: str | None, since: float, now: float) -> Proof:
        """Return what the log shows since a rollback at ``since``."""
        last = self.last_seen(route, org, "tokenlab")
        other = self.last_seen(route, org, "previous")
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

    def _guard_settings(self, route: str | None) -> GuardSettings:
        found = self.file.routes.get(route) if route is not None else None
        return self.file.guard if found is None else found.guard

    def _window_s(self, route: str | None) -> int:
        return min(self._guard_settings(route).window_s, 3600)


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} m ago"
