"""The live screen: larger charts with a time cursor and events, alerts and top errors."""

import asyncio
from collections.abc import Callable
from time import time
from typing import ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal

from rollout_console.common.safe_text import visible
from rollout_console.guard.alerts import Alert
from rollout_console.health.windows.top_errors import ErrorGroup
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.keymap import CONTEXTS, LIVE_KEYS, Key
from rollout_console.ui.screens.base import BesideScreen
from rollout_console.ui.screens.home.status import CHANGES_NOTHING, StatusFacts
from rollout_console.ui.screens.live.charts import (
    AXIS_ROWS,
    GUTTER,
    LEAST_ROWS,
    charts_of,
    draw_charts,
)
from rollout_console.ui.screens.live.figures import error_key
from rollout_console.ui.screens.live.lines import (
    event_line,
    figures_line,
    list_title,
    row_cells,
    row_header,
    status_line,
    whole_row,
)
from rollout_console.ui.screens.live.state import LiveView, Row
from rollout_console.ui.session import Session
from rollout_console.ui.sight import Sight
from rollout_console.ui.widgets.cell_view import CellView
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import Cells, LineTable

CHARTS_EVERY_S = 5.0
_TIMES = {3600: 2, 86_400: 6}
"""Factors on CHARTS_EVERY_S by window: a long one costs more to compute and changes less."""
HISTORY_EVERY_S = 5.0
ROW_GRACE_S = 0.5
"""Seconds in which nobody can have seen that another row is selected, as the one before is gone."""
_CHANGES = 200
_LINES_AROUND = 6
"""Lines for status, figures, event, the list's title, notice and keys; the alarm takes one of the
list's."""


class LiveScreen(BesideScreen):
    """Recomputes charts every five seconds or less often, and repaints lines that have changed.

    The one-minute window's figures are recomputed every second. While paused, only the status line,
    the alarm line, which is about now, and what the operator changes are redrawn. Behind a dialog
    the updates continue.
    """

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in LIVE_KEYS]
    CONTEXT = "live"
    KEYS = LIVE_KEYS
    NOTICE = "#live-notice"

    DEFAULT_CSS = """
    LiveScreen { layout: vertical; background: $background; }
    LiveScreen #live-status { background: $panel; }
    LiveScreen CellView { padding: 0; }
    LiveScreen #live-right { display: none; }
    LiveScreen.-two #live-right { display: block; }
    LiveScreen LineTable { height: 1fr; }
    LiveScreen.-short #live-charts, LiveScreen.-short #live-event { display: none; }
    LiveScreen.-short #live-list { display: none; }
    """

    def __init__(
        self,
        session: Session,
        view: LiveView,
        selected_route: str | None,
        roll_back: Callable[[str | None, str | None], None],
        facts: StatusFacts,
    ) -> None:
        super().__init__()
        self._session = session
        self._switch = session.switch
        self._monitor = session.monitor
        self._selected_route = selected_route
        self._roll_back = roll_back
        self._facts = facts
        self._view = view
        self._looked_at = 0.0
        self._history_trouble = ""
        self._at_once = 1
        self._chart_size = (80, 12)
        self._sight = Sight(self)

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down."""
        yield TextLine(id="live-status")
        yield self.alarm_line()
        yield TextLine(id="live-figures")
        with Horizontal(id="live-charts"):
            yield CellView(id="live-left")
            yield CellView(id="live-right")
        yield TextLine(id="live-event")
        yield TextLine(id="live-list")
        yield LineTable[Row](row_cells, self._draw_header, _identity)
        yield TextLine(id="live-notice")
        yield KeyBar(CONTEXTS[self.CONTEXT], self.why_not, self._facts.keymap)

    def opened(self) -> None:
        """Show the route selected at home, where that has changed, and start the timers."""
        self._view.follow(self._selected_route)
        self._fit()
        self._table.focus()
        self._look_unless_paused()
        self._read_history()
        self.set_interval(1.0, self._tick)
        self.set_interval(HISTORY_EVERY_S, self._read_history)

    def on_resize(self) -> None:
        """Adapt the layout, and recompute the charts, which depend on the size."""
        self._fit()
        self._look_unless_paused()

    def _fit(self) -> None:
        """Choose the widgets that fit; a small terminal keeps figures, list and keys."""
        width, height = self.app.size
        two = width >= 150
        room = height - _LINES_AROUND
        listed = max(5, min(room // 4, 14))
        charts = max(room - listed, 0)
        most = 2 if two else len(charts_of(self._view.frame))
        column = max(1, min((charts - AXIS_ROWS) // (LEAST_ROWS + 1), most))
        self.set_class(two, "-two")
        self.set_class(height < 15, "-short")
        self.query_one("#live-charts").styles.height = charts
        self._at_once = column * (2 if two else 1)
        self._chart_size = ((width // 2 if two else width) - 1, charts)
        self._view.columns = max(self._chart_size[0] - GUTTER, 1)

    @property
    def _table(self) -> LineTable[Row]:
        return cast("LineTable[Row]", self.query_one(LineTable))

    # -- looking ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        if not self.is_current:
            return
        now = time()
        if self._view.paused_at is None:
            every = CHARTS_EVERY_S * _TIMES.get(self._view.window_s, 1)
            if self._view.lacks_past:
                every = CHARTS_EVERY_S if self._monitor.reads_older else 0.0
            if not 0 <= now - self._looked_at < every:
                self._look()
            else:
                self._view.look_at_alerts(now)
                if self._view.window_s == 60:
                    self._view.look_at_figures(now)
                    self._draw_figures()
                self._draw_list()
        self._draw_status()

    def _look(self) -> None:
        """Recompute the frame, and draw what has changed."""
        self._looked_at = time()
        self._view.look(self._looked_at)
        self.draw()

    def _look_unless_paused(self) -> None:
        """Recompute the frame and draw it; while paused, draw the frozen one at the new size."""
        if self._view.paused_at is None:
            self._look()
        else:
            self.draw()

    @work(group="live-history", exclusive=True, exit_on_error=False)
    async def _read_history(self) -> None:
        if not self.is_current:
            return
        rows, self._history_trouble = await asyncio.to_thread(self._switch.recent, _CHANGES)
        new = rows != self._view.changes
        self._view.changes = rows
        if new and self._view.paused_at is None:
            self._view.place_events()
            self._draw_charts()
            self._draw_event()

    # -- drawing ---------------------------------------------------------------------------------

    def draw(self) -> None:
        """Redraw the screen; each widget repaints only what has changed."""
        self._draw_charts()
        self._draw_figures()
        self._draw_event()
        self._draw_list()
        self.draw_lines()

    def draw_lines(self) -> None:
        """Redraw status, notice and key hints."""
        self._draw_status()
        self.show_notice()
        self.query_one(KeyBar).update_keys()

    def _draw_status(self) -> None:
        pieces = status_line(self._view, self._monitor, self._facts, self.app.size.width, time())
        self.query_one("#live-status", TextLine).say(*pieces)

    def _draw_figures(self) -> None:
        view = self._view
        if view.frame is not None:
            pieces = figures_line(view.frame, view.index, self.app.size.width)
            self.query_one("#live-figures", TextLine).say(*pieces)

    def _draw_event(self) -> None:
        unusable = self._view.frame.unusable if self._view.frame is not None else ""
        pieces = event_line(self._view, self._history_trouble or unusable, self._facts.keymap)
        self.query_one("#live-event", TextLine).say(*pieces)

    def _draw_charts(self) -> None:
        view, frame = self._view, self._view.frame
        if frame is None or self.has_class("-short"):
            return
        charts = charts_of(frame)
        first = view.first_chart % len(charts) if self._at_once < len(charts) else 0
        names = [*charts[first:], *charts[:first]][: self._at_once]
        left = names if not self.has_class("-two") else names[: (len(names) + 1) // 2]
        stale = frame.age_s is None or frame.age_s > frame.stale_after_s
        tops = {name: view.top(name) for name in names}
        for part, some in (("#live-left", left), ("#live-right", names[len(left) :])):
            if some:
                rows = draw_charts(
                    some, frame, tops, view.events, self._chart_size, view.index, stale=stale
                )
                self.query_one(part, CellView).show(rows)

    def _draw_list(self) -> None:
        before = self._table.selected
        self._table.set_rows(self._view.rows)
        after = self._table.selected
        if after is not None and (before is None or _identity(before) != _identity(after)):
            self._sight.begin(ROW_GRACE_S)  # the cursor was not moved by a key
        title = list_title(self._view, self._facts.keymap)
        self.query_one("#live-list", TextLine).say(*title)

    def _draw_header(self, width: int) -> Cells:
        return row_header(self._view.listed, width)

    @on(LineTable.Moved)
    def _row_changed(self) -> None:
        self.query_one(KeyBar).update_keys()

    # -- what can be done now --------------------------------------------------------------------

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        name = key.id.removeprefix("live.")
        if reason := self._facts.why_read_only(key, CHANGES_NOTHING):
            return reason
        if name == "rollback.route" and self._view.subject.route is None:
            return f"all routes are shown: {self._shown('live.route')} chooses one first"
        if key.changes and self._monitor.file.is_latched(*self._subject_of(name)):
            return "rolled back already"
        if name in ("org", "org.previous") and self._view.subject.route is None:
            return f"all routes are shown: {self._shown('live.route')} chooses one first"
        if name == "chart" and self._at_once >= len(charts_of(self._view.frame)):
            return "every chart is shown"
        row = self._table.selected if self.is_mounted and self.query(LineTable) else None
        other = self._shown("live.list")
        if name == "acknowledge" and not isinstance(row, Alert):
            return f"no alert is selected; {other} lists them"
        if name in ("copy", "copy.all"):
            if not isinstance(row, ErrorGroup):
                return f"no error is selected; {other} lists them"
            if not row.request_ids:
                return "the log has no request id of this error"
        return "nothing is selected" if name == "open" and row is None else ""

    def _shown(self, key_id: str) -> str:
        key = next(key for key in LIVE_KEYS if key.id == key_id)
        return self._facts.keymap.get(key_id, key.shown)

    # -- actions ---------------------------------------------------------------------------------

    def action_window(self) -> None:
        """Show the next window."""
        self._view.next_window()
        self._look()

    def action_route(self, by: int) -> None:
        """Show another route, or all."""
        self._view.next_route(by)
        self._look()

    def action_org(self, by: int) -> None:
        """Show another org of the route, or all."""
        if self.may("live.org"):
            self._view.next_org(by, time())
            self._look()

    def _subject_of(self, name: str) -> tuple[str | None, str | None]:
        subject = self._view.subject
        if name == "rollback.all":
            return None, None
        return subject.route, None if name == "rollback.route" else subject.org

    def action_rollback(self, name: str) -> None:
        """Roll back the charts' subject (an org, a route, everything), its route, or all."""
        if self.may(f"live.{name}"):
            self._roll_back(*self._subject_of(name))

    def action_pause(self) -> None:
        """Freeze figures, charts and list, or resume the updates."""
        self._view.pause(time())
        if self._view.paused_at is None:
            self._look()
        self.draw_lines()

    def action_chart(self) -> None:
        """Show the next chart first."""
        if self.may("live.chart"):
            self._view.next_chart()
            self.draw()

    def action_cursor(self, by: int) -> None:
        """Move the time cursor."""
        self._view.move_cursor(by)
        self._draw_moment()

    def action_event(self, by: int) -> None:
        """Move the time cursor to another event."""
        if self._view.move_to_event(by):
            self._draw_moment()
        else:
            self.say(f"no event {'after' if by > 0 else 'before'} this one", bad=True)

    def _draw_moment(self) -> None:
        self._draw_charts()
        self._draw_figures()
        self._draw_event()

    def action_list(self) -> None:
        """List the alerts, the top errors, or what is against the routing."""
        self._view.next_list()
        self._draw_list()
        self._table.move_end(last=False)
        self._table.refresh()
        self.draw_lines()

    def action_acknowledge(self) -> None:
        """Acknowledge the selected alert in the operator's name; it has no other effect."""
        row, who = self._table.selected, f"{self._facts.user}@{self._facts.host}"
        if not self.may("live.acknowledge") or not isinstance(row, Alert):
            return
        if not self._sight.is_seen:
            self.say("not acknowledged: the selected row has just changed; a again", bad=True)
        elif row.acknowledged_by:
            self.say(f"acknowledged already, by {row.acknowledged_by}")
        elif self._session.acknowledge(row, who):
            self._view.acknowledged(row, who)
            self._draw_list()
            self.say("acknowledged: it stays in the list while it lasts")
        else:
            self.say("the alert is over already")

    def action_open(self) -> None:
        """Show the details of the selected row in a dialog."""
        row = self._table.selected
        if self.may("live.open") and row is not None:
            self.app.push_screen(TextDialog(*whole_row(row)))

    def action_copy(self) -> None:
        """Copy the newest request id of the error."""
        self._copy("live.copy", 1)

    def action_copy_all(self) -> None:
        """Copy every request id that is kept of the error."""
        self._copy("live.copy.all", None)

    def _copy(self, key_id: str, most: int | None) -> None:
        row = self._table.selected
        if self.may(key_id) and isinstance(row, ErrorGroup):
            ids = [visible(one) for one in row.request_ids[:most]]
            self.app.copy_to_clipboard("\n".join(ids))
            what = ids[0] if most == 1 else f"{len(ids)} request ids"
            self.say(f"{what}: sent to the terminal's clipboard")

    def action_row(self, by: int) -> None:
        """Move in the list."""
        self._table.move(by)

    def action_page(self, by: int) -> None:
        """Move half a page."""
        self._table.move_page(by)

    def action_end(self, last: bool) -> None:
        """Go to the first or the last row."""
        self._table.move_end(last)

    def go_back(self) -> bool:
        """Dismiss the notice, or else clear the time cursor; return whether there was either."""
        if self._told or self._trouble:
            self._told, self._trouble = "", ""
            self.draw_lines()
            return True
        if self._view.cursor_at is not None:
            self._view.cursor_at = None
            self._draw_moment()
            return True
        return False


def _identity(row: Row) -> tuple[object, ...]:
    if isinstance(row, ErrorGroup):
        return "error", *error_key(row)
    return "alert" if isinstance(row, Alert) else "routing", *row.key
