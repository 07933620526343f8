"""Time series and figures of one subject for the live screen; Textual is not needed."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import lcm

import msgspec

from rollout_console.common.durations import target_text
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.traffic import STALE_S
from rollout_console.health.log.record import StatusClass
from rollout_console.health.windows.summary import METRICS as METRIC_OF
from rollout_console.health.windows.summary import Summary
from rollout_console.health.windows.top_errors import ErrorGroup
from rollout_console.jobs.outcomes import FIGURES, Ended
from rollout_gate.file.model import Side

WINDOWS_S = (60, 300, 3600, 86_400)
SIDES: tuple[Side, ...] = ("tokenlab", "previous")
METRICS = tuple(METRIC_OF)

_MOST_ORGS = 200
_AT_HAND_S = 3_600
"""The jobs of so many seconds are read anyway."""
_LOG_LAG_S = 1.0
"""The typical delay in seconds between a log record's writing and its reading here."""
_LEAST_RATE_S = 10.0
"""Seconds that a rate must span to be shown; half of its point suffices where that is less."""
_PER_S = ("rate", "tokens")
_CLOSE = 1.25


class Subject(msgspec.Struct, frozen=True):
    """The scope of the figures: everything, one route, or one org on it."""

    route: str | None = None
    org: str | None = None

    @property
    def words(self) -> str:
        """The subject in words."""
        if self.route is None:
            return "all routes"
        return target_text(self.route, "all orgs" if self.org is None else self.org)


class Grid(msgspec.Struct, frozen=True):
    """A time grid: points of ``step`` seconds, aligned to its multiples; the last is incomplete.

    ``first`` is the number of the oldest point: its start in epoch seconds, divided by the step.
    """

    first: int
    step: int
    points: int

    @property
    def start(self) -> int:
        """The start of the oldest point in epoch seconds."""
        return self.first * self.step

    def at(self, index: int) -> int:
        """Return the start of a point in epoch seconds."""
        return (self.first + index) * self.step

    def index(self, at: float) -> int | None:
        """Return the index of the point that contains a time; None outside the grid."""
        found = int(at // self.step) - self.first
        return found if 0 <= found < self.points else None

    def columns(self, columns: int) -> list[range]:
        """Return for each chart column the range of points that it shows.

        A point keeps its width when the grid advances, so that no shape on a chart changes while
        it ages. A point has one column or several, or shares a column with others.
        """
        edges = [(self.first + i) * columns // self.points for i in range(self.points + 1)]
        found = [range(0)] * columns
        for index, (left, right) in enumerate(pairwise(edges)):
            first = min(left - edges[0], columns - 1)
            for column in range(first, max(right - edges[0], first + 1)):
                known = found[column]
                found[column] = range(known.start if known else index, index + 1)
        return found


def grid_for(
    window_s: int, columns: int, now: float, *, of_org: bool = False, least_s: int = 1
) -> Grid:
    """Return the finest grid with at most one point for each column.

    Its step in seconds is a multiple of the bins that counts are kept in for a window that long:
    300 s over an hour, 5 s over 15 minutes or for an org, else 1 s; and of ``least_s``, in which
    counts arrive (it divides a minute).
    """
    unit = lcm(300 if window_s > 3600 else 5 if of_org or window_s > 900 else 1, least_s)
    steps = (step for step in range(unit, window_s + 1, unit) if window_s % step == 0)
    step = next(s for s in steps if window_s // s <= max(columns, 1))
    points = window_s // step
    return Grid(int(now // step) - points + 1, step, points)


class Frame(msgspec.Struct, frozen=True):
    """A snapshot of all figures that are drawn; ``at`` is its time in epoch seconds."""

    at: float
    subject: Subject
    window_s: int
    grid: Grid
    series: Mapping[tuple[Side, str], Sequence[float | None]]
    classes: Mapping[StatusClass, Sequence[int]]
    whole: Mapping[Side, Summary]
    errors: Sequence[ErrorGroup]
    kept_s: float
    reads_older: bool
    reading_words: str
    age_s: float | None
    unusable: str
    jobs: Mapping[Side, Ended] | None = None
    """How the jobs of a route of async jobs have ended in the window; None of any other."""
    stale_after_s: float = STALE_S
    """The age from which on the figures are stale."""
    lacks: frozenset[str] = frozenset()
    """The metrics that the source does not have, which are no 0."""
    source: str = ""
    """What a Prometheus has in place of the access log, in words; empty for the log."""
    limits: Mapping[str, float] = msgspec.field(default_factory=dict)
    """The limits of figures of jobs, in percent or seconds."""

    def value(self, side: Side, metric: str, index: int | None) -> float | None:
        """Return a metric at a point, or over the entire window where ``index`` is None."""
        if metric in FIGURES:
            if index is not None:
                return self.series[side, metric][index]
            ended = (self.jobs or {}).get(side)
            return FIGURES[metric](ended) if ended is not None else None
        if index is None:
            summary = self.whole[side]
            if metric in self.lacks:
                return None
            return METRIC_OF[metric](summary) if summary.requests else None
        return self.series[side, metric][index]

    def count(self, cls: StatusClass, index: int | None) -> int:
        """Return TokenLab's requests of a class at a point, or in the entire window for None."""
        if index is None:
            return self.whole["tokenlab"].by_class[cls]
        return self.classes[cls][index]


def frame_of(monitor: Monitor, subject: Subject, window_s: int, columns: int, now: float) -> Frame:
    """Return the figures of a subject over a window, in at most ``columns`` points."""
    route, org = subject.route, subject.org
    age, now = monitor.age_s(now), monitor.as_of(now)
    grid = grid_for(
        window_s, columns, now, of_org=org is not None, least_s=monitor.least_step_s
    )  # fmt: skip
    series: dict[tuple[Side, str], Sequence[float | None]] = {}
    for side in SIDES:
        for metric in METRICS:
            values = monitor.org_series(metric, route, org, side, now, window_s, grid.points)
            series[side, metric] = _with_open_point(values, grid, now, metric in _PER_S)
    jobs, limits = None, {}
    if route is not None and monitor.is_async(route):
        series |= _job_series(monitor, route, org, grid, now)
        jobs = ended_in(monitor, subject, window_s, now)
        found = {name: monitor.job_limit(route, name) for name in FIGURES}
        limits = {name: limit for name, limit in found.items() if limit is not None}
    return Frame(
        at=now,
        subject=subject,
        window_s=window_s,
        grid=grid,
        series=series,
        classes=monitor.class_series(route, org, "tokenlab", now, window_s, grid.points),
        whole=whole_window(monitor, subject, window_s, now),
        errors=monitor.top_errors(route, org, now, window_s),
        kept_s=monitor.kept_s(org, now),
        reads_older=monitor.reads_older,
        reading_words=monitor.reading_words,
        age_s=None if age is None else max(age, 0.0),
        unusable=monitor.source_trouble(now) or monitor.unusable_words(now),
        stale_after_s=monitor.stale_after_s,
        source=monitor.source_words,
        lacks=monitor.lacks,
        jobs=jobs,
        limits=limits,
    )


def _job_series(
    monitor: Monitor, route: str, org: str | None, grid: Grid, now: float
) -> dict[tuple[Side, str], Sequence[float | None]]:
    """Return the figures of jobs of both sides as series; of a day its jobs are asked for."""
    if grid.step * grid.points > _AT_HAND_S:
        monitor.jobs.want_day()
    found: dict[tuple[Side, str], Sequence[float | None]] = {}
    for side in SIDES:
        place = (grid.first, grid.step, grid.points)
        series = monitor.job_verdicts.series(route, org, side, place, now)
        for name in FIGURES:
            found[side, name] = series.get(name, [None] * grid.points)
    return found


def ended_in(monitor: Monitor, subject: Subject, window_s: int, now: float) -> dict[Side, Ended]:
    """Return how the jobs of a route or org have ended over a window, of each side with any."""
    found: dict[Side, Ended] = {}
    for side in SIDES if subject.route is not None else ():
        ended = monitor.job_verdicts.ended(
            str(subject.route), subject.org, side, now, float(window_s)
        )
        if ended is not None:
            found[side] = ended
    return found


def whole_window(
    monitor: Monitor, subject: Subject, window_s: int, now: float
) -> dict[Side, Summary]:
    """Return the figures of both sides over a window."""
    return {
        side: monitor.figures(subject.route, subject.org, side, now, window_s) for side in SIDES
    }


def orgs_by_traffic(monitor: Monitor, route: str, now: float) -> list[str]:
    """Return the orgs of a route, those with most requests in the last five minutes first.

    At most 200 are returned; of more, the most recently seen ones are ranked.
    """
    seen = list(monitor.seen_orgs().get(route, ()))
    if len(seen) > _MOST_ORGS:
        seen.sort(key=lambda org: -_last_seen(monitor, route, org))
    counts = {org: _requests(monitor, route, org, now) for org in seen[:_MOST_ORGS]}
    most = sorted(counts, key=lambda org: (-counts[org], org))
    found = monitor.file.routes.get(route)
    listed = found.orgs if found is not None else ()
    return [*most, *(org for org in listed if org not in counts)][:_MOST_ORGS]


def settled(groups: Iterable[ErrorGroup], before: Sequence[ErrorGroup]) -> list[ErrorGroup]:
    """Sort errors by count with hysteresis: two swap places only where counts differ by over 25%.

    ``before`` is the previous order. Rows that swap places at every update cannot be read.
    """
    places = {error_key(one): place for place, one in enumerate(before)}
    found = sorted(groups, key=lambda one: places.get(error_key(one), len(places)))
    moved = True
    while moved:
        moved = False
        for place, (one, other) in enumerate(pairwise(found)):
            if other.count > one.count * _CLOSE:
                found[place], found[place + 1] = other, one
                moved = True
                break
    return found


def error_key(group: ErrorGroup) -> tuple[str, str, int, str]:
    """Return the identity of a group of errors."""
    return group.route, group.side, group.status, group.error


def _requests(monitor: Monitor, route: str, org: str, now: float) -> int:
    return sum(monitor.figures(route, org, side, now, 300).requests for side in SIDES)


def _last_seen(monitor: Monitor, route: str, org: str) -> float:
    return max(monitor.last_seen(route, org, side) or 0.0 for side in SIDES)


def _with_open_point(
    values: Sequence[float | None], grid: Grid, now: float, is_rate: bool
) -> Sequence[float | None]:
    """Return a series with the last value, of the open point, None while too little has elapsed.

    A rate is scaled to the elapsed part: divided by the full step, it would show a dip that is
    always there and never real. So would a percentile of the one or two requests of a new point.
    """
    newest = values[-1]
    if newest is None:
        return values
    passed = now - _LOG_LAG_S - grid.at(grid.points - 1)
    if passed < min(grid.step / 2, _LEAST_RATE_S):
        return [*values[:-1], None]
    return [*values[:-1], newest * grid.step / passed] if is_rate else values
