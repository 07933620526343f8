"""What the live screen shows: figures over time of one subject, the same for screen and tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rollout_console.guard.monitor import Monitor
from rollout_console.health.log.record import StatusClass
from rollout_console.health.windows.summary import Summary
from rollout_console.health.windows.top_errors import ErrorGroup
from rollout_gate.file.model import Side

WINDOWS_S = (60, 300, 3600, 86_400)
SIDES: tuple[Side, ...] = ("tokenlab", "previous")
METRICS = ("5xx", "4xx", "429", "p50", "p95", "p99", "rate")

_MOST_ORGS = 200
_LOG_LAG_S = 1.0
"""A line is seen about so long after it was written."""
_LEAST_RATE_S = 10.0
"""A rate over less than this, or less than half of its point, says nothing."""
_CLOSE = 1.25


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose figures: everything, one route, or one org on it."""

    route: str | None = None
    org: str | None = None

    @property
    def words(self) -> str:
        """The subject as one says it."""
        if self.route is None:
            return "all routes"
        return f"{self.route} / {self.org or 'all orgs'}"


@dataclass(frozen=True, slots=True)
class Grid:
    """Points of time: each is ``step`` seconds from a whole multiple of it; the last is not over.

    ``first`` is the number of the oldest point: its start, divided by the step.
    """

    first: int
    step: int
    points: int

    @property
    def start(self) -> int:
        """When the oldest point begins."""
        return self.first * self.step

    def at(self, index: int) -> int:
        """Return when a point begins."""
        return (self.first + index) * self.step

    def index(self, at: float) -> int | None:
        """Return the point that a time is in; None outside of all."""
        found = int(at // self.step) - self.first
        return found if 0 <= found < self.points else None

    def columns(self, columns: int) -> list[range]:
        """Return the points that each of so many columns shows.

        A point keeps the width it has when the grid moves on, so that nothing on a chart changes
        its form while it ages; it is one column, or a few, or with others in one.
        """
        edges = [(self.first + i) * columns // self.points for i in range(self.points + 1)]
        found = [range(0)] * columns
        for index, (left, right) in enumerate(pairwise(edges)):
            first = min(left - edges[0], columns - 1)
            for column in range(first, max(right - edges[0], first + 1)):
                known = found[column]
                found[column] = range(known.start if known else index, index + 1)
        return found


def grid_for(window_s: int, columns: int, now: float, *, of_org: bool = False) -> Grid:
    """Return the finest grid with at most one point for each column.

    Its step is a whole multiple of the parts that counts are kept in, for a window as long.
    """
    unit = 300 if window_s > 3600 else 5 if of_org or window_s > 900 else 1
    steps = (step for step in range(unit, window_s + 1, unit) if window_s % step == 0)
    step = next(s for s in steps if window_s // s <= max(columns, 1))
    points = window_s // step
    return Grid(int(now // step) - points + 1, step, points)


@dataclass(frozen=True, slots=True)
class Frame:
    """All that is drawn of one moment; ``at`` is when that was, in epoch seconds."""

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
    age_s: float | None
    unusable: str

    def value(self, side: Side, metric: str, index: int | None) -> float | None:
        """Return a metric at a point, or over the whole window."""
        if index is None:
            return _metric(self.whole[side], metric)
        return self.series[side, metric][index]

    def count(self, cls: StatusClass, index: int | None) -> int:
        """Return TokenLab's requests of a class at a point, or in the whole window."""
        if index is None:
            return self.whole["tokenlab"].by_class[cls]
        return self.classes[cls][index]


def frame_of(monitor: Monitor, subject: Subject, window_s: int, columns: int, now: float) -> Frame:
    """Return the figures of a subject over a window, in at most so many points."""
    route, org = subject.route, subject.org
    grid = grid_for(window_s, columns, now, of_org=org is not None)
    series: dict[tuple[Side, str], Sequence[float | None]] = {}
    for side in SIDES:
        for metric in METRICS:
            series[side, metric] = monitor.org_series(
                metric, route, org, side, now, window_s, grid.points
            )
        series[side, "rate"] = _with_open_point(series[side, "rate"], grid, now)
    age = monitor.age_s(now)
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
        age_s=None if age is None else max(age, 0.0),
        unusable=monitor.unusable_words(now),
    )


def whole_window(
    monitor: Monitor, subject: Subject, window_s: int, now: float
) -> dict[Side, Summary]:
    """Return the figures of both sides over a window."""
    return {
        side: monitor.figures(subject.route, subject.org, side, now, window_s) for side in SIDES
    }


def orgs_by_traffic(monitor: Monitor, route: str, now: float) -> list[str]:
    """Return the orgs of a route, those with most requests in the last five minutes first.

    Of ten thousand these are the ones that were seen last.
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
    """Return errors in the order they were shown in, where their counts are close to each other.

    Rows that change places with every count cannot be read.
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
    """Return what a group of errors is known by."""
    return group.route, group.side, group.status, group.error


def _requests(monitor: Monitor, route: str, org: str, now: float) -> int:
    return sum(monitor.figures(route, org, side, now, 300).requests for side in SIDES)


def _last_seen(monitor: Monitor, route: str, org: str) -> float:
    return max(monitor.last_seen(route, org, side) or 0.0 for side in SIDES)


def _metric(summary: Summary, metric: str) -> float | None:
    if not summary.requests:
        return None
    values = {
        "5xx": summary.percent_5xx, "4xx": summary.percent_4xx, "429": summary.percent_429,
        "rate": summary.rate_per_s,
        "p50": summary.p50, "p95": summary.p95, "p99": summary.p99,
    }  # fmt: skip
    return values[metric]


def _with_open_point(
    rates: Sequence[float | None], grid: Grid, now: float
) -> Sequence[float | None]:
    """Reckon the last rate by the time that has passed of its point; at first it says nothing.

    Over the whole step it would be a dip that is always there and never true.
    """
    newest = rates[-1]
    if newest is None:
        return rates
    passed = now - _LOG_LAG_S - grid.at(grid.points - 1)
    enough = min(grid.step / 2, _LEAST_RATE_S)
    return [*rates[:-1], newest * grid.step / passed if passed >= enough else None]
