"""The home screen: table of routes and orgs, charts, notices, status, and handlers of messages."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from time import time
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.geometry import Size
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from rollout_console.changes.external_edits import rolled_back
from rollout_console.changes.plan import Plan, Target
from rollout_console.changes.snapshot import Snapshot
from rollout_console.changes.switch import Done, Edit
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.guard.alerts import ModelTrouble
from rollout_console.guard.balance import BalanceSources
from rollout_console.health.log.probe_log import ProbeLine, probe_text
from rollout_console.history.rows import NOTES
from rollout_console.ui.jump_list import Position
from rollout_console.ui.keymap import CONTEXTS, HOME_KEYS
from rollout_console.ui.messages import (
    BalanceRead,
    FileChanged,
    FileTrouble,
    GuardSeen,
    HistoryChanged,
    KeysRead,
    LogRead,
    ModelsSeen,
    OlderRead,
    ProbesRead,
    WriteTrouble,
)
from rollout_console.ui.mount_guard import Opened
from rollout_console.ui.put_away import PutAway
from rollout_console.ui.screens.base import BesideScreen
from rollout_console.ui.screens.home.about_row import about_row
from rollout_console.ui.screens.home.actions import HomeActions
from rollout_console.ui.screens.home.alarm_line import AlarmLine
from rollout_console.ui.screens.home.charts import ChartGrid
from rollout_console.ui.screens.home.last_changes import LastChanges, ReadChanges
from rollout_console.ui.screens.home.notices import Notices
from rollout_console.ui.screens.home.row_filter import HELP
from rollout_console.ui.screens.home.row_painter import RowPainter
from rollout_console.ui.screens.home.status import StatusFacts, status_pieces
from rollout_console.ui.screens.home.view import TableView
from rollout_console.ui.session import Session
from rollout_console.ui.sight import Sight
from rollout_console.ui.widgets.changes_panel import ChangesPanel
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.rollout_table import RolloutTable
from rollout_console.ui.workers import Feeds

ALARM_GRACE_S = 0.5
"""Seconds in which nobody can have seen that the alarm line shows another alert."""
CHARTS_EVERY_S = 5.0
_MOST_MARKS = 20
_AROUND_THE_TABLE = 6
"""Lines that are neither rows of the table nor charts: status, alarm, header, two notices, keys."""
_MOST_PROOFS = 20


class HomeScreen(Opened, HomeActions):
    """Owns table, charts, notices and status: workers post messages, handlers here apply them."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in HOME_KEYS]

    DEFAULT_CSS = """
    HomeScreen { layout: vertical; background: $background; }
    HomeScreen #status { background: $panel; }
    HomeScreen #alarm { display: none; background: $warning-muted; }
    HomeScreen.-trouble #alarm { display: block; }
    HomeScreen.-alarm #alarm { background: $error-muted; }
    HomeScreen #body { height: 1fr; }
    HomeScreen #filter { display: none; height: 1; border: none; padding: 0 1; }
    HomeScreen.-filtering #filter { display: block; }
    HomeScreen #changes { display: none; }
    HomeScreen.-broad #changes { display: block; }
    HomeScreen.-short #charts, HomeScreen.-short #notice-2 { display: none; }
    HomeScreen.-tiny.-filtering #notice-1 { display: none; }
    """

    def __init__(
        self,
        session: Session,
        sources: BalanceSources,
        facts: StatusFacts,
        warn_of_keys: Callable[[], str],
        ask_for_models: Callable[[], Mapping[str, ModelTrouble]],
    ) -> None:
        super().__init__()
        self._session = session
        self._switch = session.switch
        self._monitor = session.monitor
        self._facts = facts
        self._keys_warn = False
        self._guard_acts = False
        self._out: Mapping[str, Mapping[str, str]] = {}
        self._notices = Notices()
        self._put_away = PutAway(state_folder() / "put-away.json", keeps=not facts.in_browser)
        self._probes: Mapping[tuple[str, str], ProbeLine] = {}
        self._feeds = Feeds(self, session, sources, warn_of_keys, ask_for_models)
        self._view = TableView(session.monitor)
        self._alarms = AlarmLine(time())
        self._alarm_shown: tuple[str, ...] | None = None
        self._alarm_sight = Sight(self)
        self._painter = RowPainter(session.monitor, self._view, self._notices, time())
        self._table = RolloutTable(self._painter.row, self._painter.header, id="table")
        self._changed_at: list[tuple[float, str | None]] = []
        self._charts_at = 0.0
        self._fitted = Size(0, 0)
        self._last_changes = LastChanges(session.switch, session.monitor)
        self._before_filter = Position("home")

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down, fitted to the terminal before it is mounted."""
        self._fitted = width, height = self.app.size
        self._set_size_classes(restyle=False)
        charts = ChartGrid(id="charts")
        charts.fit_to(width, height)
        yield TextLine(id="status")
        yield TextLine(id="alarm")
        with Horizontal(id="body"):
            yield self._table
            yield ChangesPanel()
        yield TextLine(id="notice-1")
        yield TextLine(id="notice-2")
        yield charts
        yield Input(placeholder=HELP, id="filter")
        yield KeyBar(CONTEXTS["home"], self.why_not, self._facts.keymap)

    def opened(self) -> None:
        """Show the known state at once, and start the polling workers."""
        for trouble in self._facts.troubles:
            self._notices.tell(trouble, time())
        self._flow = self._session.flow(self.app, self)
        self._session.subscribe(self._changed)
        self._show_file_warnings()
        self.on_resize()  # before the first layout, which would otherwise be done twice
        self._rebuild()
        self._tick()  # before the first layout too: the first frame is then complete
        if (first := self._last_changes.first()) is not None:
            self._show_read(first)
        self._table.focus()
        self.call_after_refresh(self._feeds.start)  # the first frame comes before the rest
        # Charts hold the colours of the theme that they were drawn in.
        self.app.theme_changed_signal.subscribe(self, lambda _: self.draw_charts())
        self.set_interval(1.0, self._each_second)

    def on_resize(self) -> None:
        """Adapt the layout to the size of the terminal."""
        if self.app.size != self._fitted:
            self._fit()
            self.call_after_refresh(self._tick)  # what is fitted to the width is not left as it was

    def _fit(self) -> None:
        """Choose the widgets that fit; a small terminal keeps the table and the keys."""
        self._fitted = width, height = self.app.size
        self._set_size_classes()
        self.query_one(ChartGrid).fit_to(width, height)
        self._charts_at = 0.0

    def _set_size_classes(self, *, restyle: bool = True) -> None:
        width, height = self._fitted
        self.set_class(width >= 116, "-broad", update=restyle)
        self.set_class(height < 18, "-short", update=restyle)
        self.set_class(height < 7, "-tiny", update=restyle)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Report and restart a crashed worker: its data would silently become stale."""
        if event.state is WorkerState.ERROR:
            name = event.worker.group
            kind = type(event.worker.error).__name__
            self._notices.trouble(f"worker {name}", f"internal error in {name}: {kind}; retrying")
            self._feeds.start_again(name)

    # -- messages from workers -------------------------------------------------------------------

    @on(FileChanged)
    def _file_changed(self, event: FileChanged) -> None:
        before = self._monitor.file
        self._take_over(event.snapshot)
        if event.foreign and before.revision != event.snapshot.revision:
            # Rollbacks by other processes are tracked until drained as well.
            found, now = islice(rolled_back(before, event.snapshot.file), _MOST_PROOFS), time()
            for route, org in found:
                self._notices.rolled_back(route, org, now)
            self._tell_of_edit(self._switch.edit)
        self._tick()

    def _tell_of_edit(self, edit: Edit) -> None:
        said = f"{self._switch.name} was changed by {visible(edit.words)}"
        self._notices.tell(said, time())
        if edit.gives_back and not edit.ours:
            # An unconfirmed resume: a git checkout or a sync has restored an old version.
            self.app.bell()
            self._notices.trouble("reverted", f"A rollback was reverted: {said}")

    @on(FileTrouble)
    def _file_trouble(self, event: FileTrouble) -> None:
        # Omit the folder, so that the line and column of the error are not truncated.
        sentence = event.sentence.replace(f"{self._switch.path.parent}{os.sep}", "", 1)
        self._session.file_trouble, self._session.is_missing = sentence, event.is_missing
        kept = self._session.file_advice
        self._notices.trouble("file", visible(sentence) + kept)
        self._show_notices()
        self._show_status()
        self._each_second()  # the screens over home have it in their alarm line

    @on(WriteTrouble)
    def _write_trouble(self, event: WriteTrouble) -> None:
        self._facts.file_access.trouble = event.why
        name = visible(self._switch.path.name)
        sentence = f"{name} cannot be written, a rollback neither: {event.why}"
        self._notices.trouble("write", sentence if event.why else "")
        self._show_notices()
        self._show_status()

    @on(HistoryChanged)
    def _history_changed(self) -> None:
        self._show_changes()

    @on(LogRead)
    def _log_read(self, event: LogRead) -> None:
        before = {route: len(list(orgs)) for route, orgs in self._monitor.seen_orgs().items()}
        if event.records and not self._monitor.lines:
            self._charts_at = 0.0  # "no requests" is not left there until the next turn
        self._monitor.add(event.records, time())
        self._notices.trouble("log", visible(event.trouble))
        self._notices.trouble("lines", visible(self._monitor.unusable_words(time())))
        after = {route: len(list(orgs)) for route, orgs in self._monitor.seen_orgs().items()}
        if before != after:
            self._rebuild()

    @on(OlderRead)
    def _older_read(self, event: OlderRead) -> None:
        self._monitor.add_older(event.older, event.part)
        if event.part is None:
            self._rebuild()

    @on(BalanceRead)
    def _balance_read(self, event: BalanceRead) -> None:
        if event.balance is not None:
            self._session.balance.add(time(), event.balance)
        else:
            self._session.balance.failed(event.trouble, asked=event.asked)
        profile = self._monitor.file.profile
        if event.asked:
            self._put_away.discard(profile)
        elif self._put_away.has(profile, event.trouble):
            self._notices.trouble("balance", "")  # the status line still says it
            return
        # A failed request is retried; a missing credential needs an operator.
        again = f", next try in {event.next_in_s:.0f} s" if event.asked else ""
        self._notices.trouble(
            "balance", f"balance{again}: {visible(event.trouble)}" if event.trouble else ""
        )

    @on(KeysRead)
    def _keys_read(self, event: KeysRead) -> None:
        self._keys_warn = bool(event.sentence)
        self._notices.trouble("keys", visible(event.sentence))

    @on(ModelsSeen)
    def _models_seen(self, event: ModelsSeen) -> None:
        self._session.models = event.troubles

    @on(GuardSeen)
    def _guard_seen(self, event: GuardSeen) -> None:
        self._guard_acts, self._out = event.acts, event.out

    @on(ProbesRead)
    def _probes_read(self, event: ProbesRead) -> None:
        self._probes = event.probes

    def _each_second(self) -> None:
        """Look for alerts, whichever screen is active, then redraw."""
        self._painter.now = now = time()
        began = self._session.new_alerts(now)
        alarms = [alert for alert in began if alert.level == "alarm"]
        if alarms:
            self.app.bell()
        self._look_at_alarms()
        self.show_alarm_elsewhere()
        self._redraw()

    # -- drawing ---------------------------------------------------------------------------------

    @on(events.ScreenResume)
    def _resumed(self) -> None:
        """Redraw what was not while another screen was in front, and stands there as of now."""
        if self.query("#status"):  # it is composed
            self._tick()

    def _tick(self) -> None:
        """Redraw with the figures of now."""
        self._painter.now = time()
        self._redraw()

    def _redraw(self) -> None:
        """Redraw what has changed, also behind a dialog, for an operator who is deciding."""
        if not self.is_current:
            return
        now = self._painter.now
        if self._view.note_sick(now) or self._view.is_due(now):
            self._rebuild()
        else:
            self._table.refresh_numbers()
        self._show_status()
        self._show_alarm()
        self._show_notices()
        self.query_one(KeyBar).update_keys()
        if abs(now - self._charts_at) >= CHARTS_EVERY_S:
            self.draw_charts()
        else:
            self.query_one(ChartGrid).say(self._monitor, now)

    def _show_status(self) -> None:
        pieces = status_pieces(
            self._facts,
            self._monitor,
            self._session.balance,
            self._keys_warn,
            self._guard_acts,
            self._session.file_words,
            self.app.size.width,
            time(),
            self._switch.spread,
        )
        self.query_one("#status", TextLine).say(*pieces)

    def _show_alarm(self) -> None:
        """Show the gravest alert on a line of its own, which is there only while there is one."""
        self._look_at_alarms()
        pieces = self._alarms.pieces(self.app.size.width)
        current = self._alarms.current
        if current is not None and current.key != self._alarm_shown:
            self._alarm_sight.begin(ALARM_GRACE_S)
        self._alarm_shown = None if current is None else current.key
        self.set_class(current is not None, "-trouble")
        self.set_class(current is not None and current.level == "alarm", "-alarm")
        self.query_one("#alarm", TextLine).say(*pieces)

    def _look_at_alarms(self) -> None:
        self._alarms.look(
            self._session.alerts.open, self._monitor.file, self._painter.now, self._is_reading
        )

    def show_alarm_elsewhere(self) -> None:
        """Show the alarm line on the screens over home: a toast would cover what is there."""
        for screen in self.app.screen_stack:
            if isinstance(screen, BesideScreen):
                screen.show_alarm(*self.alarm_elsewhere())

    def alarm_elsewhere(self) -> tuple[Sequence[tuple[str, str]], bool]:
        """Return the alarm line for another screen, and whether it is of an alarm."""
        return self._alarms.pieces_elsewhere(self.app.size.width, self._notices.failed)

    @property
    def _is_reading(self) -> bool:
        """Whether lines that are there already are still to be read."""
        return self._monitor.behind or self._monitor.reads_older

    def _show_notices(self) -> None:
        first, second = self._notices.lines(self._monitor, time(), self.app.size.width)
        self.query_one("#notice-1", TextLine).say(*first)
        self.query_one("#notice-2", TextLine).say(*(second or self._about_the_row()))

    def _about_the_row(self) -> Sequence[tuple[str, str]]:
        """Return what is known of the selected row beyond its figures."""
        row = self._row()
        if row is None:
            return ()
        probe = self._probes.get((row.route, "tokenlab"))
        probed = "" if probe is None else f"probe {probe_text(probe, self._painter.now)}"
        return about_row(row, self._monitor, probed, self._painter.now)

    def come_back(self) -> None:
        """Choose anew what is chosen once, as rows may move now: another screen was active."""
        self._view.spare.rank_again()

    def draw_charts(self) -> None:
        """Draw the visible charts."""
        self._charts_at = self._painter.now
        row = self._table.selected
        self.query_one(ChartGrid).show(
            self._monitor,
            self._session.balance,
            row.route if row else None,
            self._charts_at,
            [at for at, route in self._changed_at if row and route in (None, row.route)],
        )

    @work(group="changes", exclusive=True, exit_on_error=False)
    async def _show_changes(self) -> None:
        self._show_read(await asyncio.to_thread(self._last_changes.read))

    def _show_read(self, found: ReadChanges) -> None:
        self._monitor.remember(found.recorded, time())
        changes = (one for one in found.rows if one.action not in NOTES)
        self._changed_at = [(o.at.timestamp(), o.route) for o in islice(changes, _MOST_MARKS)]
        self.query_one(ChangesPanel).show(found.rows, found.trouble)

    def _show_file_warnings(self) -> None:
        warnings = self._monitor.file.warnings
        more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        self._notices.trouble(
            "warning",
            f"{self._switch.name}: {visible(str(warnings[0]))}{more}" if warnings else "",
        )

    def _take_over(self, snapshot: Snapshot, plan: Plan | None = None) -> None:
        self._monitor.configure(snapshot.file, time(), plan)
        self._session.progress.file_is(snapshot.revision)
        self._notices.keep_latched(snapshot.file)
        self._show_file_warnings()
        self._rebuild()

    def _rebuild(self, *, keeps_selected: bool = True) -> None:
        """Choose the rows again; a row that is selected is not folded away under the cursor."""
        row = self._table.selected if keeps_selected else None
        self._view.selected = None if row is None else row.key
        charts = 0 if self.has_class("-short") else self.query_one(ChartGrid).lines
        self._view.fit_into(self.app.size.height - _AROUND_THE_TABLE - charts)
        rows = self._view.rows(self._painter.now)
        self._painter.fit_labels(rows)
        self._table.set_rows(rows)
        self._notices.trouble("filter", self._view.filter_words)
        self._notices.trouble("marks", self._view.marked_words)
        self._show_notices()

    # -- the listener of a change ----------------------------------------------------------------

    def rollback_failed(self, targets: Sequence[Target], head: str, sentence: str) -> None:
        """Show what became of a rollback that failed; empty texts: it is made by now."""
        self._notices.rollback_failed(targets, head, visible(sentence))
        self._show_notices()
        self.show_alarm_elsewhere()

    def change_made(self, done: Done) -> None:
        """Notify the subscribers of the session, this screen among them."""
        self._session.changed(done)

    def _changed(self, done: Done) -> None:
        """Apply the new version of the file, start the proof of a rollback, report the change."""
        self._take_over(done.snapshot, done.plan)
        if done.plan.action == "rollback":
            for target in reversed(done.plan.latched):  # the newest notice comes first
                self._notices.rolled_back(*target, done.at.timestamp())
        else:
            for target in done.plan.targets:
                self._notices.forget(*target)
            again = (
                "u takes back the change before" if done.plan.action == "undo" else "u undoes it"
            )
            effect = done.plan.effect
            if done.plan.action == "set" and (lines := len(done.plan.parts)):
                effect = f"{lines} lines in {self._switch.name}"  # leaves room for the key
            self._notices.tell(f"done: {visible(effect)} · {again}", time())
        if done.kept_as:
            self._notices.trouble("file", "")
            self._notices.tell(f"the broken text was kept as {visible(done.kept_as)}", time())
        for warning in done.warnings:
            self._notices.trouble("history", visible(warning))
        self._charts_at = 0.0
        self._show_changes()
        self._tick()

    def change_refused(self, sentence: str) -> None:
        """Report why nothing was done, on another screen as well if that is active."""
        self._notices.refuse(visible(sentence), time())
        self._show_notices()
        if isinstance(self.app.screen, BesideScreen):  # the live screen requested it
            self.app.screen.say(sentence, bad=True)

    def ask_again(self) -> None:
        """Poll balance and keys now: a missing credential may have become available."""
        self._feeds.start("balance", "keys")

    def tell(self, sentence: str) -> None:
        """Show a notice that expires."""
        self._notices.tell(visible(sentence), time())
        self._show_notices()

    @on(RolloutTable.Moved)
    def _cursor_moved(self) -> None:
        """Redraw the charts where another route is selected."""
        self.query_one(KeyBar).update_keys()
        self._show_notices()
        row = self._row()
        if row is not None and self.query_one(ChartGrid).route != row.route:
            self.draw_charts()

    # -- the filter ------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Open the filter line."""
        self._before_filter = self.position
        self.add_class("-filtering")
        # Synchronously: focus() would take effect after the key events already queued.
        self.set_focus(self.query_one("#filter", Input))

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._view.filter = event.value
        self._rebuild()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self._session.jumps.leave(self._before_filter)
        self._table.focus()

    def go_back(self) -> None:
        """Close the filter, or dismiss the notices."""
        if self.has_class("-filtering"):
            self.query_one("#filter", Input).value = ""
            self.remove_class("-filtering")
            self._table.focus()
        elif self._view.marked:
            self._view.unmark_all()
            self._rebuild()
        else:
            if self._session.balance.lacks_credential:
                told = self._session.balance.trouble
                self._put_away.add(self._monitor.file.profile, told)
            self._notices.dismiss()
            self._show_notices()
