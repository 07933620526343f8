"""The money screen: the bill drilled down, burn and runways, the piles, and why a bill differs."""

from functools import partial
from time import time
from typing import ClassVar, cast

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, Static

from rollout_console.common.write_access import WriteAccess
from rollout_console.cost.burn import Burn, Runway
from rollout_console.cost.worker_protocol import PileSum
from rollout_console.reconcile.money import ZERO
from rollout_console.reconcile.piles import Row
from rollout_console.ui.keymap import CONTEXTS, MONEY_KEYS, Key
from rollout_console.ui.screens.base import BesideScreen
from rollout_console.ui.screens.home.status import StatusFacts
from rollout_console.ui.screens.money.about import about_lines, ids_of
from rollout_console.ui.screens.money.actions import MoneyFlows
from rollout_console.ui.screens.money.cells import layout_of, names_of
from rollout_console.ui.screens.money.columns import Layout
from rollout_console.ui.screens.money.feed import RowFeed
from rollout_console.ui.screens.money.head import (
    QUIET,
    Pieces,
    age_pieces,
    budget_lines,
    clock,
    head_lines,
    preview_lines,
    progress_pieces,
)
from rollout_console.ui.screens.money.state import Level, MoneyRow, MoneyView, Section, identity
from rollout_console.ui.screens.money.title import empty_words, title_pieces
from rollout_console.ui.session import Session
from rollout_console.ui.text import shown
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import Cells, LineTable

_TYPED_S = 0.15
"""Debounce: rows are asked for once nothing was typed for so long."""
_SHORT = 18
"""The terminal height in lines below which burn, runways and the selected row are left out."""


class MoneyScreen(BesideScreen):
    """Shows what a worker process has matched; nothing is pulled before it is asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in MONEY_KEYS]
    CONTEXT = "money"
    KEYS = MONEY_KEYS
    NOTICE = "#money-notice"

    DEFAULT_CSS = """
    MoneyScreen { layout: vertical; background: $background; }
    MoneyScreen #money-status { background: $panel; }
    MoneyScreen #money-head { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    MoneyScreen #money-title { background: $surface; }
    MoneyScreen LineTable { height: 1fr; }
    MoneyScreen #money-about {
        height: auto; max-height: 4; border-top: solid $panel; padding: 0 1;
    }
    MoneyScreen.-none LineTable { display: none; }
    MoneyScreen #money-about.-empty { display: none; }
    MoneyScreen.-short #money-about { display: none; }
    MoneyScreen.-bare #money-about, MoneyScreen.-short.-bare #money-about {
        display: block; max-height: 50%; border-top: none;
    }
    MoneyScreen #money-filter { display: none; height: 1; border: none; padding: 0 1; }
    MoneyScreen.-filtering #money-filter { display: block; }
    """

    def __init__(
        self, view: MoneyView, session: Session, access: WriteAccess, facts: StatusFacts
    ) -> None:
        super().__init__()
        self._view = view
        self._session = session
        self._access = access
        self._facts = facts
        self._feed = RowFeed(self, view, self)
        self._layout: Layout[MoneyRow] | None = None
        self._layout_width = -1
        self._table_of: Level | None = None
        self._typing: Timer | None = None
        self._lines: dict[str, Content] = {}

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down."""
        yield TextLine(id="money-status")
        yield self.alarm_line()
        yield Static("", id="money-head", markup=False)
        yield TextLine(id="money-title")
        yield LineTable[MoneyRow](self._draw_row, self._draw_header, identity)
        yield Static("", id="money-about", markup=False)
        yield TextLine(id="money-notice")
        yield Input(
            placeholder="filter: words of names, ids, reasons; ! inverts", id="money-filter"
        )
        yield KeyBar(CONTEXTS[self.CONTEXT], self.why_not, self._facts.keymap)

    def opened(self) -> None:
        """Show what was shown before, and load what was pulled."""
        self._flows = MoneyFlows(self.app, self._access, self, self._feed.export)
        if not self._view.is_of_now:
            self._view.clear()
        self.query_one("#money-filter", Input).value = self._view.level.text
        self.on_resize()
        self._table.focus()
        self.show()
        self.action_reload()
        self.set_interval(1.0, self._each_second)

    def on_resize(self) -> None:
        """Leave out what does not fit a small terminal."""
        self.set_class(self.app.size.height < _SHORT, "-short")
        self._layout = None
        self.draw_lines()

    def _each_second(self) -> None:
        if not self._view.is_of_now:  # the rollout file names another profile or address now
            self._view.clear()
            self.show()
            self.action_reload()
        self.draw_lines()

    @property
    def _table(self) -> LineTable[MoneyRow]:
        return cast("LineTable[MoneyRow]", self.query_one(LineTable))

    # -- drawing ---------------------------------------------------------------------------------

    def show(self) -> None:
        """Redraw the list that is shown, and ask for what it lacks."""
        table, level = self._table, self._view.level
        self._layout = None
        is_other = self._table_of is not level
        if is_other:
            self._table_of = None  # the table moves its cursor by itself: that is no place
        at = level.at
        table.set_rows(list(level.rows))
        table.redraw()
        if is_other:
            table.move_to(at)
            self._table_of = level
        self.draw_lines()
        self._feed.ask_rows(self._table.cursor)

    def recovered(self, sentence: str) -> None:
        """Take a message about a problem back, if it is still shown: it is over."""
        if self._trouble == shown(sentence):
            self._trouble = ""

    def _draw_header(self, width: int) -> Cells:
        return self._layout_for(width - 1).header()  # without the cursor's column

    def _draw_row(self, row: MoneyRow, width: int) -> Cells:
        return self._layout_for(width).row(row)

    def _layout_for(self, width: int) -> Layout[MoneyRow]:
        if self._layout is None or self._layout_width != width:
            loaded = self._view.loaded
            whole = ZERO if loaded is None else loaded.bill.cost
            self._layout = layout_of(self._view.level, width, whole, self._names)
            self._layout_width = width
        return self._layout

    @property
    def _names(self) -> dict[str, str]:
        loaded = self._view.loaded
        return {} if loaded is None else dict(names_of(loaded.keys))

    def draw_lines(self) -> None:
        """Redraw everything but the table."""
        view, facts = self._view, self._facts
        loaded = view.loaded
        until = "" if loaded is None else f" up to {clock(loaded.until)}"
        link = self._feed.link
        loads = link.is_coming and not link.pulls
        seconds = f" {link.since_s:.0f} s" if loads and link.since_s >= 2 else ""
        reading = f"  reading {view.period.name}…{seconds}" if loads else ""
        self.query_one("#money-status", TextLine).say(
            (" money", "bold"), (" ▸ ", "$accent"), (f"{view.period_of.name}{until}", "bold"),
            facts.writes,
            *age_pieces(loaded, time()), (reading, "$warning"),
            (f"  {view.whose[0]}", QUIET),
        )  # fmt: skip
        title = title_pieces(view, self._feed, lambda name: self._shown(f"money.{name}"))
        self.query_one("#money-title", TextLine).say(*title)
        self._draw_head()
        self._draw_about()
        self.show_notice(*self._notice())
        self.query_one(KeyBar).update_keys()

    def _notice(self) -> Pieces:
        level, loaded = self._view.level, self._view.loaded
        if level.text.strip():
            looked = ""
            if level.pile is not None and not level.is_end:
                looked = f"looked at {level.scanned:,} rows so far   "
            return [(f" filter: {level.text}   {looked}esc clears it", QUIET)]
        if loaded is not None and loaded.words:
            more = f" (and {len(loaded.words) - 1} more)" if len(loaded.words) > 1 else ""
            return [(" ! ", "$warning bold"), (f"{loaded.words[0]}{more}", "$warning")]
        return []

    def _draw_head(self) -> None:
        view, short = self._view, self.has_class("-short")
        lines: list[Pieces] = []
        if view.loaded is not None and view.loaded.horizon is not None:
            lines = head_lines(view.loaded, view.money, self._balance(view.loaded.burn))
        elif view.preview is not None:
            lines = preview_lines(view.preview, self._balance(view.preview.burn))
        monitor = self._session.monitor
        now = time()
        lines += budget_lines(monitor.budgets.standings(monitor.file, now), now)
        lines = lines[:1] if short else lines
        link = self._feed.link
        if link.pulls:
            lines.append(progress_pieces(link.told, self._shown("money.pull"), link.since_s))
        self._update("#money-head", lines)

    def _balance(self, burn: Burn) -> Runway | None:
        """Return the balance's runway at a burn: of the balance of home, or the worker's."""
        money, latest = self._view.money, self._session.balance.latest
        known = None if money is None else money.balance
        if latest is None:
            return known
        left = latest[1].balance
        if known is not None:
            return replace(known, left=left)
        return Runway("", left, None, burn.a_day(burn.cost))

    def _draw_about(self) -> None:
        level, row = self._view.level, self._table.selected
        lines: list[Pieces] = []
        if len(self._trouble) > self.app.size.width - 4:  # its end says what to do
            lines = [[(self._trouble, "$warning")]]
        elif row is not None:
            lines = [[piece] for piece in about_lines(row, level, self._names)]
        elif words := empty_words(self._view, self._feed, self._shown("money.pull")):
            lines = [[(one, QUIET)] for one in words]
        self._update("#money-about", lines)
        self.query_one("#money-about").set_class(not lines, "-empty")
        self.set_class(row is None, "-bare")
        known = self._view.loaded is not None and self._view.loaded.horizon is not None
        self.set_class(not known, "-none")

    def _update(self, name: str, lines: list[Pieces]) -> None:
        """Update a widget of several lines where they differ from what it shows."""
        pieces = [piece for line in lines for piece in (*line, ("\n", ""))][:-1]
        content = Content.assemble(*pieces)
        if self._lines.get(name) != content:
            self._lines[name] = content
            self.query_one(name, Static).update(content)

    @on(LineTable.Moved)
    def _row_changed(self) -> None:
        if self._table_of is self._view.level:
            self._view.level.at = self._table.cursor
        self._draw_about()
        self.query_one(KeyBar).update_keys()
        self._feed.ask_rows(self._table.cursor)

    # -- what can be done now --------------------------------------------------------------------

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        nothing = "nothing is written; start without --read-only"
        if reason := self._facts.why_read_only(key, nothing):
            return reason
        name, view = key.id.removeprefix("money."), self._view
        row = self._table.selected if self.is_mounted else None
        match name:
            case "view" | "view.previous" if view.section != "cost":
                return f"views are of the cost: {self._shown('money.cost')} goes there"
            case "view" | "view.previous" if len(view.free_views) < 2:
                return "there is no other view here: esc goes back"
            case "sort" if len(view.level.orders) == 1:
                return "this list has one order"
            case "open":
                return self._why_not_open(row)
            case "copy" | "copy.all" if row is None or not ids_of(row):
                return "this row has no id"
            case "filter" if not view.level.is_listed:
                return "a pile or a cause has rows to filter: enter opens it"
            case "export" if view.loaded is None or view.loaded.horizon is None:
                return "nothing was pulled yet"
            case "export" if view.section == "why" and view.explained is None:
                return "the periods are not compared yet"
        return ""

    def _why_not_open(self, row: MoneyRow | None) -> str:
        if row is None:
            return "nothing is selected"
        if isinstance(row, PileSum) and not (row.figures.records or row.figures.lines):
            return "there is nothing in it"
        if isinstance(row, Row) or self._view.below(row) is not None:
            return ""
        return "this is all that is known of it; esc goes back"

    def _shown(self, key_id: str) -> str:
        key = next(key for key in MONEY_KEYS if key.id == key_id)
        return self._facts.keymap.get(key_id, key.shown)

    # -- actions ---------------------------------------------------------------------------------

    def action_reload(self) -> None:
        """Match what was pulled anew; nothing is pulled."""
        self._feed.load(pulls=False)

    def action_row(self, by: int) -> None:
        """Move the cursor."""
        self._table.move(by)

    def action_page(self, by: int) -> None:
        """Move half a page."""
        self._table.move_page(by)

    def action_end(self, last: bool) -> None:
        """Go to the first row, or the last that is listed."""
        self._table.move_end(last)

    def action_section(self, name: Section) -> None:
        """Show the costs, the piles or the difference."""
        self._view.section = name
        self._go()

    def action_view(self, by: int) -> None:
        """Show the same costs by another view."""
        if self.may("money.view"):
            self._view.next_view(by)
            self._table_of = None
            self._go()

    def action_open(self) -> None:
        """Go one level down, or show all of a record."""
        row = self._table.selected
        if not self.may("money.open") or row is None:
            return
        if isinstance(row, Row):
            self.start(partial(self._flows.record, row, self._names))
            return
        below = self._view.below(row)
        if below is not None:
            self._view.open(below)
            self._go()

    def action_period(self) -> None:
        """Load the next period."""
        self._view.next_period()
        self.action_reload()

    def action_sort(self) -> None:
        """Sort by the next order."""
        if self.may("money.sort"):
            level = self._view.level
            level.order += 1
            self._view.forget_rows(level)
            self._go()

    def action_pull(self) -> None:
        """Pull the usage records of the period, or stop."""
        if not self.may("money.pull"):
            return
        if self._feed.link.pulls:
            self._feed.link.stop()
            self.say("stopped: what was pulled is kept, and the next pull goes on there")
        else:
            self._trouble = ""
            self._feed.load(pulls=True)

    def action_export(self) -> None:
        """Write the rows to a file."""
        loaded = self._view.loaded
        if self.may("money.export") and loaded is not None:
            self.start(partial(self._flows.export, self._view.level, loaded.until))

    def action_copy(self) -> None:
        """Copy the first id of the row."""
        self._copy("copy", 1)

    def action_copy_all(self) -> None:
        """Copy all ids of the row."""
        self._copy("copy.all", None)

    def _copy(self, name: str, most: int | None) -> None:
        row = self._table.selected
        self.copy_ids(f"money.{name}", ids_of(row)[:most] if row is not None else ())

    def action_filter(self) -> None:
        """Open the filter line."""
        if self.may("money.filter"):
            self.add_class("-filtering")
            self.set_focus(self.query_one("#money-filter", Input))  # synchronously, as at home

    @on(Input.Changed, "#money-filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._filter_by(event.value)

    def _filter_by(self, text: str) -> None:
        level = self._view.level
        if text != level.text:
            level.text = text
            self._feed.forget()
            level.of, level.at, level.scanned = -1, 0, 0  # the rows stay until the others come
            if self._typing is not None:
                self._typing.stop()
            self._typing = self.set_timer(_TYPED_S, self.show)
            self.draw_lines()

    @on(Input.Submitted, "#money-filter")
    def _filter_done(self) -> None:
        self.remove_class("-filtering")
        self._table.focus()

    def _go(self) -> None:
        """Show the list that is the place now, with its own filter."""
        self._told, self._trouble = "", ""
        self.remove_class("-filtering")
        self.query_one("#money-filter", Input).value = self._view.level.text
        self._feed.forget()
        self._table_of = None
        self._table.focus()
        self.show()

    def go_back(self) -> bool:
        """Clear the filter or the notice, or go a level up; return whether there was any."""
        if self.has_class("-filtering") or self._view.level.text:
            self.remove_class("-filtering")
            self._filter_by("")
            self.query_one("#money-filter", Input).value = ""
            self._table.focus()
            return True
        if self._told or self._trouble:
            self._told = self._trouble = ""
            self.draw_lines()
            return True
        if self._view.back():
            self._go()
            return True
        return False
