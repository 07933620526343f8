"""What the access log shows: figures over time, the proof of a rollback, requests gone astray."""

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from rollout_console.guard.misrouted import Misrouted
from rollout_console.health.log.lines import Unusable
from rollout_console.health.log.multi_file import Log, open_log
from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.bins import Bins
from rollout_console.health.windows.summary import Summary
from rollout_console.health.windows.top_errors import ErrorGroup, TopErrors
from rollout_console.health.windows.windows import Windows
from rollout_gate.file.model import GuardSettings, RolloutFile, Side

if TYPE_CHECKING:
    from rollout_console.health.backfill.reader import Backfill, Part

QUIET_S = 5.0
"""A rolled back org that sent nothing to TokenLab for this long has drained."""

STALE_S = 15.0
"""Without a line of log for this long, the figures on screen are old."""

COLD_BYTES = 32 * 1024 * 1024
"""How much of a log that is there already is read at the start."""

FIRST_BYTES = 4 * 1024 * 1024
OLDER_BYTES = 1024 * 1024 * 1024
"""How much who stays reads of it: the newest first, and what is older beside it."""

HISTORY_S = 24 * 3600.0
"""How old a rotated log may be to be read at the start, where the log itself is short."""

UNUSABLE_S = 300.0
"""Lines that cannot be used are said for so long after the last of them came."""

MUCH_UNUSABLE = 0.01
"""Of a log of which more than this share cannot be used, no figure is to be trusted."""

_ARRIVALS = 600
_PIECE_BYTES = 512 * 1024
_TOLD_S = 30.0
_LEAST_S = 1.0
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
        if self._log_path is not None:
            self._end_older()
            # A read may be under way in another thread: the next one closes it.
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
        self._errors = TopErrors()
        self._seen: dict[str, dict[str, None]] = defaultdict(dict)
        self.last_line_at = 0.0
        self._lines = 0
        self._unusable_known = 0
        self._unusable_at = -inf
        self._arrived: deque[tuple[float, int, int]] = deque(maxlen=_ARRIVALS)

    @property
    def log_path(self) -> Path:
        """The access log that is followed."""
        assert self._log_path is not None
        return self._log_path

    @property
    def unusable(self) -> Unusable:
        """How many lines of the log were not access-log lines, and why the first was none."""
        found = self._follower.unusable
        return self._older.unusable.plus(found) if self._older is not None else found

    @property
    def lines(self) -> int:
        """How many lines of the log were."""
        return self._lines + (self._older.lines if self._older is not None else 0)

    def unusable_words(self, now: float) -> str:
        """Return how many lines could not be used, and why; empty once none has come for a while.

        They are no requests to anybody, so without these words they would look like no traffic.
        """
        lines, why = self.unusable
        if not lines or now - self._unusable_at > UNUSABLE_S:
            return ""
        word = "line" if lines == 1 else "lines"
        return f"{lines:,} {word} of the access log cannot be used; the first: {why}"

    def mostly_unusable(self, now: float) -> bool:
        """Return whether so many of the lines of late cannot be used that figures mean little."""
        since = now - UNUSABLE_S
        usable = sum(one for at, one, _ in self._arrived if at >= since)
        unusable = sum(one for at, _, one in self._arrived if at >= since)
        return unusable > MUCH_UNUSABLE * (usable + unusable)

    @property
    def behind(self) -> bool:
        """Whether there was more to read when a read ended."""
        return self._follower.behind

    @property
    def reads_older(self) -> bool:
        """Whether older lines are being read still."""
        return self._older is not None and not self._older.over

    def read(self) -> tuple[Sequence[AccessRecord], str]:
        """Return the lines that have come, at most a piece, and what is wrong, if anything."""
        self._close_replaced()
        records = self._follower.poll(max_bytes=_PIECE_BYTES)
        told, until = self._older_told
        return records, self._follower.trouble or (told if time.monotonic() < until else "")

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Take lines into account."""
        seen = self._windows.add(records, now)
        self._errors.add(records, now)
        self._lines += len(records)
        # Unusable lines have no time; the log's own makes them as old for all who read it.
        self._note_arrival(len(records), now - self._idle_s())
        for route, org, _ in seen:
            self._see(route, org)
        self.last_line_at = max(self.last_line_at, *seen.values(), 0.0)
        self.strays.add(records, seen)

    def _idle_s(self) -> float:
        """Return for how many seconds nobody has written to the log."""
        try:
            return max(time.time() - self.log_path.stat().st_mtime, 0.0)
        except OSError:
            return 0.0

    def _note_arrival(self, usable: int, now: float) -> None:
        """Keep how many lines came in this second, and how many that could not be used."""
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
        """Read all there is, and wait for what is older; for commands, which look once."""
        self._go_on(now, wait=True)

    def go_on(self, now: float) -> None:
        """Read what is new; of what is older, take what is there without waiting for it."""
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
        """Begin to read what is older than the first line that was read, where there is any.

        It is told of once, after a read; what it gives is to be handed to ``add_older``.
        """
        stretches = self._follower.take_older()
        if not stretches:
            return None
        from rollout_console.health.backfill.reader import Backfill

        self._older_until = self._follower.begins_at
        self._older = Backfill(stretches, self._windows, self._errors, now)
        return self._older

    def close(self) -> None:
        """Close the log, and end what reads older lines; no read may be under way."""
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
        """Take a part of what is older into account; that of a log followed before is not."""
        if older is not self._older:
            older.close()
            return
        older.take(part)
        if older.over:
            self._note_arrival(older.lines, self._arrived[-1][0] if self._arrived else 0.0)
            self._older_told = (older.trouble, time.monotonic() + _TOLD_S)
            for route, org, _ in self._windows.kept.tracks:
                if route is not None and org is not None:
                    self._see(route, org)

    def seen_orgs(self) -> dict[str, Iterable[str]]:
        """Return, by route, the orgs that the log has had lines of."""
        return {route: orgs.keys() for route, orgs in self._seen.items()}

    def age_s(self, now: float) -> float | None:
        """Return how old the newest line is; None before there was one."""
        return now - self.last_line_at if self.last_line_at else None

    def summary(self, route: str | None, org: str | None, side: Side, now: float) -> Summary:
        """Return the figures of a side over the guard's window of the route."""
        return self.figures(route, org, side, now, self._window_s(route))

    def series(
        self, metric: str, route: str | None, side: Side, now: float, window_s: float, points: int
    ) -> Sequence[float | None]:
        """Return a metric over time, None where there was no request."""
        return self._windows.series(now, window_s, points, metric, route=route, side=side)

    def figures(
        self, route: str | None, org: str | None, side: Side, now: float, window_s: float
    ) -> Summary:
        """Return the figures of a side over any window."""
        window_s = min(window_s, max(now - self._begins_at, _LEAST_S))
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
        """Return how many seconds back the figures of an org reach, or those of whole routes."""
        return max(min(self._windows.kept_s(org, now), now - self._begins_at), 0.0)

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
        if last is None or last < since - QUIET_S:  # there was nothing to drain
            goes_on = other is not None and other > since
            return Proof(goes_on and quiet >= QUIET_S, f"was quiet before · {age}")
        if quiet >= QUIET_S and other is not None and other > since:
            return Proof(True, f"drained in {took:.0f} s · {age}")
        if quiet >= QUIET_S:
            return Proof(False, f"{age} · no request to previous either yet")
        return Proof(False, f"draining · {age}")

    @property
    def _begins_at(self) -> float:
        """From when on all lines of the log were read; -inf where that is all that is kept."""
        begins_at = self._follower.begins_at
        if self._older is not None and self._older.complete and begins_at == self._older_until:
            return self._older.begins_at
        return begins_at  # which is later where a gap came since

    def _see(self, route: str, org: str) -> None:
        if len(self._seen[route]) < _MOST_SEEN:
            self._seen[route][org] = None

    def _guard_settings(self, route: str | None) -> GuardSettings:
        found = self.file.routes.get(route) if route is not None else None
        return self.file.guard if found is None else found.guard

    def _window_s(self, route: str | None) -> int:
        return min(self._guard_settings(route).window_s, 3600)


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} m ago"
