"""The history screen: who changed what and why, with both diffs, and the way back to a revision."""

import asyncio
from functools import partial
from math import inf
from time import time
from typing import ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static
from textual.worker import Worker

from rollout_console.changes.change_details import Details, details_of, what_of
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.history.errors import HistoryError
from rollout_console.history.rows import Change
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.keymap import CONTEXTS, HISTORY_KEYS, Key
from rollout_console.ui.reading import Reading
from rollout_console.ui.screens.base import ChangingScreen
from rollout_console.ui.screens.history.cells import HistoryCells, at_text, detail_lines
from rollout_console.ui.screens.history.state import PAGE, HistoryView
from rollout_console.ui.screens.home.status import StatusFacts
from rollout_console.ui.session import Session
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import Cells, LineTable
from rollout_gate.file.revision import SHORT

_SETTLED_S = 0.1
"""Debounce: the texts of a row are compared once the cursor has rested on it for so long."""
_MOST_KNOWN = 64
_SPLIT_FROM = 150
"""The width in cells from which on the details are to the right of the table, not below it."""
_MOST_WIDE = 120


class HistoryScreen(ChangingScreen):
    """Lists the file's changes, newest first, with the details of the selected one."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in HISTORY_KEYS]
    CONTEXT = "history"
    KEYS = HISTORY_KEYS
    NOTICE = "#history-notice"

    DEFAULT_CSS = """
    HistoryScreen { layout: vertical; background: $background; }
    HistoryScreen #history-status { background: $panel; }
    HistoryScreen #history-body { height: 1fr; layout: vertical; }
    HistoryScreen LineTable { height: 3fr; width: 1fr; }
    HistoryScreen #change { height: 2fr; border-top: solid $panel; padding: 0 1; }
    HistoryScreen.-split #history-body { layout: horizontal; }
    HistoryScreen.-split LineTable { height: 1fr; width: 2fr; }
    HistoryScreen.-split #change {
        height: 1fr; width: 1fr; border-top: none; border-left: solid $panel;
    }
    HistoryScreen #history-filter { display: none; height: 1; border: none; padding: 0 1; }
    HistoryScreen.-filtering #history-filter { display: block; }
    """

    def __init__(self, session: Session, facts: StatusFacts) -> None:
        super().__init__(session)
        self._switch = session.switch
        self._facts = facts
        self._view = HistoryView()
        self._known: dict[int, Details] = {}
        self._cells = HistoryCells(80)
        self._cells_of = 80
        self._unreadable = ""
        self._reading = Reading("the history", inf)
        self._reads: Worker[None] | None = None
        self._is_due = False

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down."""
        yield TextLine(id="history-status")
        yield self.alarm_line()
        with Container(id="history-body"):
            yield LineTable[Change](self._draw_row, self._draw_header, lambda change: change.id)
            with VerticalScroll(id="change", can_focus=False):
                yield Static("", markup=False)
        yield TextLine(id="history-notice")
        yield Input(
            placeholder="filter: words of who, what, route, org, reason; ! inverts",
            id="history-filter",
        )
        yield KeyBar(CONTEXTS[self.CONTEXT], self.why_not, self._facts.keymap)

    def opened(self) -> None:
        """Read the newest changes, and the others page by page."""
        self._changing = self._session.flow(self.app, self)
        self._fit()
        self._table.focus()
        self._read_again()
        self.draw_lines()
        self.set_interval(1.0, self._refresh)

    def _refresh(self) -> None:
        """Redraw what depends on time and on the file as it is now; retry a read that failed."""
        if self._reading.failed and self._reading.is_due(time()):
            self._read_again()
        if self._reading.words(time()):
            self.draw_lines()
        self._table.refresh_numbers()
        self.query_one(KeyBar).update_keys()

    def on_resize(self) -> None:
        """Adapt the layout: the columns depend on the width."""
        self._fit()

    def _fit(self) -> None:
        self.set_class(self.app.size.width >= _SPLIT_FROM, "-split")

    @property
    def _table(self) -> LineTable[Change]:
        return cast("LineTable[Change]", self.query_one(LineTable))

    # -- reading ---------------------------------------------------------------------------------

    def history_changed(self) -> None:
        """Read the rows that are new."""
        if self.is_mounted:
            self._read_again()

    def action_reload(self) -> None:
        """Read every row again."""
        if self._reads is not None:
            self._reads.cancel()
            self._reads = None
        self._forget()
        self._read_again()

    def _forget(self) -> None:
        self._is_due = True
        self._view.clear()
        self._known.clear()

    def _read_again(self) -> None:
        self._is_due = True
        self._reading.begin(time())
        if self._reads is None or self._reads.is_finished:
            self._reads = self._read()

    @work(group="history-read", exit_on_error=False)
    async def _read(self) -> None:
        """Read the new rows and, page by page, the older ones.

        What is new meanwhile is read between two pages: begun anew, it would never end where
        changes come faster.
        """
        view, history, path = self._view, self._switch.history, self._switch.path
        try:
            while self._is_due or not view.complete:
                if self._is_due:
                    self._is_due = False
                    rows = await asyncio.to_thread(history.rows, path, PAGE, after=view.read_from)
                    if view.is_replaced(rows):
                        self._forget()
                        continue
                    self._took(view.add_newest(rows))
                if not view.complete:
                    rows = await asyncio.to_thread(history.rows, path, PAGE, before=view.read_to)
                    self._took(view.add_older(rows))
        except HistoryError as error:
            self._unreadable = str(error)
            self._reading.end(time(), error)
            self.draw_lines()

    def _took(self, changed: bool) -> None:
        self._unreadable = ""
        if self._view.complete and not self._is_due:
            self._reading.end(time())
        if changed:
            self.show()
        else:
            self.draw_lines()

    # -- drawing ---------------------------------------------------------------------------------

    def show(self) -> None:
        """Redraw the changes that pass the filter; the cursor on the newest one stays there."""
        table = self._table
        follows = table.cursor == 0
        table.set_rows(self._view.found())
        if follows:
            table.move_end(last=False)
        self.draw_lines()
        self._draw_change()

    def _draw_header(self, width: int) -> Cells:
        return self._cells_for(width - 1).header()  # without the cursor's column

    def _draw_row(self, change: Change, width: int) -> Cells:
        in_force = change.revision == self._session.monitor.file.revision
        return self._cells_for(width).row(change, in_force=in_force)

    def _cells_for(self, width: int) -> HistoryCells:
        if self._cells_of != width:
            self._cells_of, self._cells = width, HistoryCells(width)
        return self._cells

    def draw_lines(self) -> None:
        """Redraw status, notice and key hints."""
        view, facts, history = self._view, self._facts, self._switch.history
        found = len(self._table.rows)
        count = f"{found:,} of {len(view.rows):,}" if view.text.strip() else f"{found:,}"
        changes = counted(len(view.rows), "change").rpartition(" ")[2]
        words = self._reading.words(time())
        more = "" if view.complete or self._unreadable else "…"
        self.query_one("#history-status", TextLine).say(
            (" history", "bold"), (" ▸ ", "$accent"), (f"{count}{more} {changes}", "bold"),
            (f"  {words}" if words else "", "$warning"),
            facts.writes,
            ("", "") if history.is_shared else ("  this user's alone", "$warning"),
            (f"  {visible(self._switch.address or str(history.path))}", "$foreground 70%"),
        )  # fmt: skip
        if self._unreadable and not self._told and not self._trouble:
            self.query_one(self.NOTICE, TextLine).say(
                (" ! ", "$error bold"), (visible(self._unreadable), "$warning")
            )
        else:
            self.show_notice((self._default_notice(), "$foreground 70%"))
        self.query_one(KeyBar).update_keys()

    def _default_notice(self) -> str:
        if self._view.text.strip():
            return f" filter: {visible(self._view.text)}   esc clears it"
        if self._view.complete and not self._view.rows:
            return " no change of this file is recorded yet"
        selected = self._table.selected
        if selected is not None and selected.revision == self._session.monitor.file.revision:
            return " ● the file is as it was after this change"
        return " ● marks the change after which the file is as it is now"

    def _draw_change(self) -> None:
        change = self._table.selected
        pieces: list[tuple[str, str]] = []
        if change is not None:
            lines = detail_lines(change, self._known.get(change.id))
            pieces = [(f"{text}\n", style) for text, style in lines]
            if change.id not in self._known:
                self._compare(change)
        self.query_one("#change Static", Static).update(Content.assemble(*pieces))

    @work(group="history-compare", exclusive=True, exit_on_error=False)
    async def _compare(self, change: Change) -> None:
        """Compare the texts of a row, once the cursor has rested on it."""
        await asyncio.sleep(_SETTLED_S)
        await self._details(change)
        selected = self._table.selected
        if selected is not None and selected.id == change.id:
            self._draw_change()

    async def _details(self, change: Change) -> Details:
        found = self._known.get(change.id)
        if found is None:
            switch = self._switch
            found = await asyncio.to_thread(details_of, switch.history, switch.path, change)
            while len(self._known) >= _MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
            self._known[change.id] = found
        return found

    @on(LineTable.Moved)
    def _row_changed(self) -> None:
        self.query_one("#change", VerticalScroll).scroll_home(animate=False)
        self._draw_change()
        self.draw_lines()

    # -- what can be done now --------------------------------------------------------------------

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        nothing = "nothing is changed or written; start without --read-only"
        if reason := self._facts.why_read_only(key, nothing):
            return reason
        selected = self._table.selected if self.is_mounted else None
        needs_change = ("history.open", "history.restore", "history.report", "history.copy")
        if key.id in needs_change and selected is None:
            return "no change is selected"
        now = "" if self._session.file_trouble else self._session.monitor.file.revision
        if key.id == "history.restore" and selected is not None and selected.revision == now:
            return "the file is as it was after this change already"
        return ""

    def _may(self, name: str) -> Change | None:
        return self._table.selected if self.may(f"history.{name}") else None

    # -- actions ---------------------------------------------------------------------------------

    def action_row(self, by: int) -> None:
        """Move the cursor."""
        self._table.move(by)

    def action_page(self, by: int) -> None:
        """Move half a page."""
        self._table.move_page(by)

    def action_end(self, last: bool) -> None:
        """Go to the newest or the oldest change."""
        self._table.move_end(last)

    def action_open(self) -> None:
        """Show everything that is recorded of the change."""
        change = self._may("open")
        if change is None:
            return

        async def read() -> None:
            details = await self._details(change)
            lines = [text for text, _ in detail_lines(change, details)]
            width = min(max(self.app.size.width - 4, 40), _MOST_WIDE)
            await self.app.push_screen_wait(TextDialog(at_text(change), lines, width=width))

        self.start(read)

    def action_restore(self) -> None:
        """Put the file back to what it was after the change, with a diff and a confirm."""
        change = self._may("restore")
        if change is not None:
            plan = partial(self._switch.planner.plan_restore, change.revision)
            why = f"back to how it was after: {what_of(change)}"
            self.start(partial(self._changing.run, plan, why))

    def action_report(self) -> None:
        """Write the report of the selected rollback's incident, or of the latest one's."""
        change = self._may("report")
        if change is None:
            return
        from rollout_console.ui.screens.history.report import write_incident_report

        rows = list(self._view.rows)
        self.start(partial(write_incident_report, self.app, self._session, rows, change, self))

    def action_copy(self) -> None:
        """Copy the revision that the change made."""
        change = self._may("copy")
        if change is not None:
            self.app.copy_to_clipboard(visible(change.revision))
            self.say(f"{change.revision[:SHORT]}: sent to the terminal's clipboard")

    def action_filter(self) -> None:
        """Open the filter line."""
        self.add_class("-filtering")
        self.set_focus(self.query_one("#history-filter", Input))  # synchronously, as at home

    @on(Input.Changed, "#history-filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._view.text = event.value
        self.show()

    @on(Input.Submitted, "#history-filter")
    def _filter_done(self) -> None:
        self.remove_class("-filtering")
        self._table.focus()

    def go_back(self) -> bool:
        """Clear filter and notice; return whether there was either."""
        filtering = self.has_class("-filtering") or bool(self._view.text)
        self.remove_class("-filtering")
        self.query_one("#history-filter", Input).value = ""
        self._view.text = ""
        self._table.focus()
        something = filtering or bool(self._told or self._trouble)
        self._told, self._trouble = "", ""
        self.show()
        return something
