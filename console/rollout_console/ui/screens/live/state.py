"""State of the live screen: subject, window, pause and time cursor; Textual is not needed."""

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from rollout_console.charts.line_chart import nice_top
from rollout_console.guard.alerts import Alert, Alerts, as_of
from rollout_console.guard.monitor import Monitor
from rollout_console.health.windows.top_errors import ErrorGroup
from rollout_console.history.rows import Change
from rollout_console.ui.screens.live.charts import LEAST_TOP, charts_of, highest
from rollout_console.ui.screens.live.events import Event, events_of, placed
from rollout_console.ui.screens.live.figures import (
    WINDOWS_S,
    Frame,
    Subject,
    ended_in,
    frame_of,
    orgs_by_traffic,
    settled,
    whole_window,
)
from rollout_console.ui.screens.live.routing import RoutingRow, routing_rows

Row = Alert | ErrorGroup | RoutingRow
ListOf = Literal["alerts", "errors", "routing"]

_SHRINKS_BELOW = 0.3
"""Hysteresis: the top of an axis falls once its values use less than this share of it."""


class LiveView:
    """Holds one frame of figures and what the operator has selected. Times are epoch seconds.

    While paused, the frame is frozen; it is recomputed only for another subject or window, and
    then as of the time of the pause.
    """

    def __init__(self, monitor: Monitor, alerts: Alerts) -> None:
        self._monitor = monitor
        self._alerts = alerts
        self.subject = Subject()
        self.window_s = WINDOWS_S[1]
        self.columns = 60
        self.frame: Frame | None = None
        self.paused_at: float | None = None
        self.cursor_at: float | None = None
        """The time of the cursor; None for no cursor, with the figures of the entire window."""
        self.listed: ListOf = "alerts"
        self.changes: Sequence[Change] = ()
        self.events: dict[int, list[Event]] = {}
        self.alerts: Sequence[Alert] = ()
        self.errors: Sequence[ErrorGroup] = ()
        self.routing: Sequence[RoutingRow] = ()
        self.first_chart = 0
        self._followed: str | None = None
        self._orgs: list[str] = []
        self._tops: dict[str, float] = {}

    # -- looking ---------------------------------------------------------------------------------

    def look(self, now: float) -> Frame:
        """Compute and keep the frame as of ``now``, or of the time of the pause."""
        at = now if self.paused_at is None else self.paused_at
        frame = frame_of(self._monitor, self.subject, self.window_s, self.columns, at)
        self.frame = frame
        self.errors = settled(frame.errors, self.errors)
        if self.paused_at is None or not self.alerts:
            self.look_at_alerts(at)
        if self.cursor_at is not None and frame.grid.index(self.cursor_at) is None:
            self.cursor_at = None
        self.place_events()
        for chart in charts_of(frame):
            self._tops[chart] = self._top(chart, highest(chart, frame))
        return frame

    def look_at_figures(self, now: float) -> None:
        """Recompute the figures of the entire window alone, which is cheap."""
        if self.frame is not None:
            whole = whole_window(self._monitor, self.subject, self.window_s, now)
            jobs = self.frame.jobs
            if jobs is not None:
                jobs = ended_in(self._monitor, self.subject, self.window_s, now)
            self.frame = replace(self.frame, whole=whole, jobs=jobs)

    def look_at_alerts(self, now: float) -> None:
        """Update the open alerts, and the evidence against the routing."""
        told = [as_of(one, now) for one in self._alerts.open]
        self.alerts = sorted(told, key=lambda one: one.level)  # an alarm before a warning
        self.routing = routing_rows(self._monitor.routing(now))

    def place_events(self) -> None:
        """Place changes and alerts up to the frame's time on the time axis."""
        if self.frame is not None:
            events = events_of(self.changes, self._alerts.begun, self.subject)
            past = [event for event in events if event.at <= self.frame.at]
            self.events = placed(past, self.frame.grid)

    def top(self, chart: str) -> float:
        """Return the top of a chart's axis."""
        return self._tops.get(chart, LEAST_TOP[chart])

    def _top(self, chart: str, most: float) -> float:
        """Apply hysteresis: keep the axis while the values use enough of it."""
        before = self._tops.get(chart, 0.0)
        least = before if most > before * _SHRINKS_BELOW else 0.0
        return nice_top(most, max(least, LEAST_TOP[chart]))

    @property
    def lacks_past(self) -> bool:
        """Whether the log's backfill was still running when the frame was computed."""
        return self.frame is not None and self.frame.reads_older

    @property
    def rows(self) -> list[Row]:
        """The rows of the list."""
        if self.listed == "routing":
            return [*self.routing]
        return [*self.alerts] if self.listed == "alerts" else [*self.errors]

    @property
    def index(self) -> int | None:
        """The grid point of the cursor; None without a cursor."""
        if self.cursor_at is None or self.frame is None:
            return None
        return self.frame.grid.index(self.cursor_at)

    # -- choosing --------------------------------------------------------------------------------

    def pause(self, now: float) -> None:
        """Freeze the frame, or resume the updates and clear the cursor."""
        if self.paused_at is None:
            self.paused_at = self.frame.at if self.frame is not None else now
        else:
            self.paused_at = None
            self.cursor_at = None  # a resumed view shows the newest data

    def next_window(self) -> None:
        """Choose the next window."""
        self.window_s = WINDOWS_S[(WINDOWS_S.index(self.window_s) + 1) % len(WINDOWS_S)]
        self._tops.clear()

    def next_chart(self) -> None:
        """Show the next chart first."""
        self.first_chart = (self.first_chart + 1) % len(charts_of(self.frame))

    def follow(self, route: str | None) -> None:
        """Show the route selected at home, where that has changed since the last call."""
        if route != self._followed and self.paused_at is None:
            self._followed = route
            self.choose(Subject(route))

    def choose(self, subject: Subject) -> None:
        """Set the subject of the figures."""
        if subject.route != self.subject.route:
            self._orgs = []
        self.subject = subject
        self.errors = ()
        self._tops.clear()

    def next_route(self, by: int) -> None:
        """Choose all routes, or the next one in the order of the file."""
        routes: list[str | None] = [None, *self._monitor.file.routes]
        known = self.subject.route in routes
        place = routes.index(self.subject.route) if known else 0
        self.choose(Subject(routes[(place + by) % len(routes)]))

    def next_org(self, by: int, now: float) -> None:
        """Choose all orgs of the route, or the next one; the order is fixed as the cycle starts."""
        route = self.subject.route
        if route is None:
            return
        if self.subject.org is None or not self._orgs:
            self._orgs = orgs_by_traffic(self._monitor, route, now)
        orgs: list[str | None] = [None, *self._orgs]
        place = orgs.index(self.subject.org) if self.subject.org in orgs else 0
        self.choose(Subject(route, orgs[(place + by) % len(orgs)]))

    def move_cursor(self, by: int) -> None:
        """Move the cursor by ``by`` points; beyond the newest it is cleared."""
        if self.frame is None:
            return
        grid = self.frame.grid
        at = grid.points if self.index is None else self.index
        self._put_cursor(max(at + by, 0))

    def move_to_event(self, by: int) -> bool:
        """Move the cursor to the previous or next event; return whether there is one."""
        if self.frame is None:
            return False
        at = self.frame.grid.points if self.index is None else self.index
        found = [i for i in self.events if (i > at if by > 0 else i < at)]
        if found:
            self._put_cursor(min(found) if by > 0 else max(found))
        return bool(found)

    def _put_cursor(self, index: int) -> None:
        assert self.frame is not None
        grid = self.frame.grid
        # The middle of the point: the cursor stays on it when the grid's step changes.
        self.cursor_at = grid.at(index) + grid.step / 2 if index < grid.points else None

    def next_list(self) -> None:
        """Show the next list; that of the routing only where something is against it."""
        self.listed = self.list_after()

    def list_after(self) -> ListOf:
        """Return the list that comes after the one shown."""
        if self.listed == "alerts":
            return "errors"
        return "routing" if self.listed == "errors" and self.routing else "alerts"

    def acknowledged(self, alert: Alert, by: str) -> None:
        """Show an alert as acknowledged, also while the figures are paused."""
        self.alerts = [
            replace(one, acknowledged_by=by) if one.key == alert.key else one for one in self.alerts
        ]
