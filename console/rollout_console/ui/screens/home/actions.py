"""Actions of the home screen's key bindings; the state that they use belongs to HomeScreen."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time

from textual import work
from textual.screen import Screen
from textual.widgets import Input

from rollout_console.changes.effect_words import not_latched
from rollout_console.changes.plan import ALL_ORGS, Plan, Share, Target
from rollout_console.changes.share_group import Step, points_of
from rollout_console.changes.switch import Switch
from rollout_console.common.durations import target_text
from rollout_console.common.errors import OperationError
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.guard.ladder import down, step_down, step_up, up
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.change_flow import ChangeFlow
from rollout_console.ui.jump_list import Position
from rollout_console.ui.keymap import HOME_KEYS, Key
from rollout_console.ui.screens.home.alarm_line import AlarmLine
from rollout_console.ui.screens.home.charts import ChartGrid
from rollout_console.ui.screens.home.rows import Row, RowKey
from rollout_console.ui.screens.home.status import CHANGES_NOTHING, StatusFacts
from rollout_console.ui.screens.home.view import TableView
from rollout_console.ui.session import Session
from rollout_console.ui.sight import Sight
from rollout_console.ui.text import first_clauses, shown
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.rollout_table import RolloutTable
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.model import Route
from rollout_gate.file.percent import percent_text

_MOST_TOLD = 40
"""The most cells of an alert's sentence in a notice."""


class HomeActions(Screen[None]):
    """The actions of the home screen, one for each key."""

    _session: Session
    _switch: Switch
    _monitor: Monitor
    _flow: ChangeFlow
    _facts: StatusFacts
    _view: TableView
    _table: RolloutTable
    _alarms: AlarmLine
    _alarm_shown: tuple[str, ...] | None
    _alarm_sight: Sight
    _out: Mapping[str, Mapping[str, str]]

    def _rebuild(self, *, keeps_selected: bool = True) -> None:
        raise NotImplementedError

    def _show_alarm(self) -> None:
        raise NotImplementedError

    def change_refused(self, sentence: str) -> None:
        """Report why nothing was done."""
        raise NotImplementedError

    def rollback_failed(self, targets: Sequence[Target], head: str, sentence: str) -> None:
        """Report what became of a rollback that failed; empty texts report that it was made."""
        raise NotImplementedError

    def tell(self, sentence: str) -> None:
        """Show a notice that expires."""
        raise NotImplementedError

    def draw_charts(self) -> None:
        """Draw the visible charts."""
        raise NotImplementedError

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        if key.id == "trouble.next":
            return "" if self._alarms.current else "nothing is wrong that was not acknowledged"
        if not key.changes:
            return ""
        if reason := self._facts.why_read_only(key, CHANGES_NOTHING):
            return reason
        row = self._row()
        if self._view.marked and key.id == "rollback":
            return ""
        if self._view.marked and key.id in ("raise", "lower", "exact"):
            return self._view.why_no_step(key.id)
        if key.id in ("rollback.all", "undo"):
            return (
                "already rolled back" if key.id != "undo" and self._monitor.file.rolled_back else ""
            )
        if row is None:
            return "no route is selected"
        if key.id in ("raise", "lower", "exact") and row.is_route:
            return "select an org, not a route"
        if row.share is not None and key.id in ("rollback", "ramp.back"):
            return _why_not_share(row, key)
        if key.id == "ramp.back":
            out = row.org in self._out.get(row.route, ())
            return "" if out else "the guard has not taken it out of a ramp"
        if key.id == "resume":
            return "" if row.latched_by else not_latched(self._monitor.file, row.route, row.org)
        return ""

    def _may(self, key_id: str) -> bool:
        key = next(key for key in HOME_KEYS if key.id == key_id)
        reason = self.why_not(key)
        if reason:
            self.change_refused(reason)
        return not reason

    def _row(self) -> Row | None:
        return self._table.selected

    @work(group="change", exit_on_error=False)
    async def _change(self, make_plan: Callable[[], Plan], reason: str = "") -> None:
        await self._flow.run(make_plan, reason)

    @work(group="change", exit_on_error=False)
    async def _roll_back(self, route: str | None, org: str | None) -> None:
        reason = self._monitor.rollback_reason(route, org, time())
        make_plan = partial(self._switch.planner.plan_rollback, route, org, reason)
        failed = partial(self.rollback_failed, [(route, org)])
        await self._flow.roll_back(target_text(route, org), make_plan, reason, failed)

    @work(group="change", exit_on_error=False)
    async def _roll_back_several(self, targets: Sequence[tuple[str, str | None]]) -> None:
        now = time()
        reasons = {one: self._monitor.rollback_reason(*one, now) for one in targets}
        shares, seen = self._view.shares(), self._view.new_lines()
        make_plan = partial(
            self._switch.planner.plan_rollbacks, targets, reasons, seen=seen, shares=shares
        )
        named = [*targets, *((share.route, share.label) for share in shares)]

        def failed(head: str, sentence: str) -> None:
            self.rollback_failed(named, head, sentence)
            if not sentence:
                self._view.unmark_all()

        await self._flow.roll_back_several(named, make_plan, failed)

    @work(group="change", exit_on_error=False)
    async def _set_to_zero(self, share: Share) -> None:
        """Set a share to 0 as a rollback of it: one that fails asks to be tried again."""
        make_plan = partial(self._switch.planner.plan_rollbacks, (), shares=[share])
        target = share.route, share.label
        failed = partial(self.rollback_failed, [target])
        await self._flow.roll_back(target_text(*target), make_plan, "", failed)

    @work(group="change", exit_on_error=False)
    async def _set_several(
        self, step: Step, targets: Sequence[tuple[str, str | None]], shares: Sequence[Share]
    ) -> None:
        """Set the shares of several, each to what ``step`` makes of it when it is planned.

        A route's default is planned with the orgs, as an org by the name ALL_ORGS.
        """
        new = self._view.new_lines()
        defaults = [(share.route, share.name) for share in shares if not share.table]
        named = [share for share in shares if share.table]

        def to(route: Route, org: str) -> int:
            return step(route, points_of(route, org))

        def make_plan(held: Mapping[Target, str]) -> Plan:
            return self._switch.planner.plan_sets(
                [*targets, *defaults], to, new=new, held=held, shares=named, step=step
            )

        await self._flow.set_several(make_plan, self._view.unmark_all)

    @property
    def selected_route(self) -> str | None:
        """The route of the selected row; None without a row."""
        row = self._row()
        return None if row is None else row.route

    def _set(self, row: Row, points: int) -> None:
        assert row.org is not None
        if row.table:
            plan = partial(self._switch.planner.plan_share, row.route, row.table, row.org, points)
            self._change(plan)
        else:
            self._change(partial(self._switch.planner.plan_set, row.route, row.org, points))

    def action_raise(self) -> None:
        """Plan the next step up the ramp, of what is marked, each from its share, or of the row.

        A selected org that is latched itself is resumed instead; a marked one is left out.
        """
        row = self._row()
        if not self._may("raise"):
            return
        if self._view.marked:
            self._set_several(up, self._view.targets(), self._view.shares())
            return
        if row is None:
            return
        if row.latched_by in ("route", "file"):  # a resume would raise other orgs as well
            whole = f"route {row.route}" if row.latched_by == "route" else "everything"
            self.change_refused(f"{whole} is rolled back: o resumes {whole}")
            return
        if row.latched_by:
            self.action_resume()
            return
        after = step_up(self._monitor.file.routes[row.route].ramp.steps, row.points)
        if after == row.points:
            self.change_refused(f"{row.label} is at 100% already")
        else:
            self._set(row, after)

    def action_lower(self) -> None:
        """Plan the next step down the ramp, of what is marked, each from its share, or the row."""
        row = self._row()
        if not self._may("lower"):
            return
        if self._view.marked:
            self._set_several(down, self._view.targets(), self._view.shares())
            return
        if row is None:
            return
        after = step_down(self._monitor.file.routes[row.route].ramp.steps, row.points)
        if after == row.points:
            self.change_refused(f"{row.label} is at 0% already")
        else:
            self._set(row, after)

    def action_exact(self) -> None:
        """Ask for a percent, of what is marked or of the row, then confirm it."""
        from rollout_console.ui.dialogs.percent import PercentDialog

        row, marked = self._row(), None
        if not self._may("exact"):
            return
        if self._view.marked:
            shares = self._view.marked_points()
            now = " to ".join(f"{percent_text(one)}%" for one in sorted({min(shares), max(shares)}))
            kind = "share" if self._view.shares() else "org"
            count = f"1 {kind}" if len(shares) == 1 else f"{len(shares)} {kind}s"
            asked = PercentDialog(f"{count} marked", now)
            marked = self._view.targets(), self._view.shares()
        elif row is not None and row.org is not None:
            now = f"{percent_text(row.points)}%"
            steps = self._monitor.file.routes[row.route].ramp.steps
            asked = PercentDialog(f"{row.route} / {row.label}", now, steps)
        else:
            return

        def chosen(points: int | None) -> None:
            if points is not None and marked is not None:
                self._set_several(lambda _route, _points: points, *marked)
            elif points is not None and row is not None:
                self._set(row, points)

        # Push synchronously: digits already queued would otherwise be keys of this screen.
        self.app.push_screen(asked, chosen)

    def roll_back(self, route: str | None, org: str | None) -> None:
        """Start a rollback for another screen: of an org, a route (no org) or all (neither)."""
        self._roll_back(route, org)

    def action_rollback(self) -> None:
        """Roll back what is marked; else the selected org, or on a route's line the route.

        A share by alias or flag, and a route's default, have no latch: they are set to 0.
        """
        if self._view.marked:
            if self._may("rollback"):
                self._roll_back_several(self._view.targets())
            return
        row = self._row()
        if not self._may("rollback") or row is None:
            return
        if row.share is not None:
            self._set_to_zero(row.share)
        else:
            self._roll_back(row.route, row.org)

    def action_rollback_route(self) -> None:
        """Roll back the selected row's route."""
        row = self._row()
        if self._may("rollback.route") and row is not None:
            self._roll_back(row.route, None)

    def action_rollback_all(self) -> None:
        """Roll back everything."""
        if self._may("rollback.all"):
            self._roll_back(None, None)

    def action_mark(self) -> None:
        """Mark the selected row for a change of several, or unmark it."""
        row = self._row()
        if row is not None:
            self._view.mark(row)
            self._marks_changed()

    def action_mark_shown(self) -> None:
        """Mark the orgs that the filter shows, those of folded routes and sick routes too."""
        if not self._view.filter.strip():
            self.change_refused("set a filter first, such as / sick: M marks what it shows")
        elif unseen := self._view.unseen:
            self.change_refused(
                f"{counted(unseen, 'org is', 'orgs are')} still looked at: M marks when all are"
            )
        elif self._view.mark_all(self.query_one(RolloutTable).rows):
            self._marks_changed()
        else:
            self.change_refused("the filter shows nothing that M can mark")

    def _marks_changed(self) -> None:
        self._rebuild()
        self.query_one(KeyBar).update_keys()

    def action_resume(self) -> None:
        """Resume what latches the selected row: the file, its route, or the org."""
        row = self._row()
        if not self._may("resume") or row is None:
            return
        route = None if row.latched_by == "file" else row.route
        org = row.org if row.latched_by == "org" else None
        self._change(partial(self._switch.planner.plan_resume, route, org))

    @work(group="ask", exclusive=True, exit_on_error=False)
    async def action_put_back(self) -> None:
        """Put the selected org back into its ramp; the guard resumes from its current percent."""
        from rollout_console.guard.put_back import put_back
        from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question

        row = self._row()
        if not self._may("ramp.back") or row is None or row.org is None:
            return
        why = self._out.get(row.route, {}).get(row.org, "")
        effect = f"{target_text(row.route, row.org)}: the guard may raise it again, step by step"
        question = Question("Put back into the ramp", effect, notes=(f"it is out: {why}",))
        if await self.app.push_screen_wait(ConfirmDialog(question)) is None:
            return
        try:
            await self._flow.keep(
                f"putting {target_text(row.route, row.org)} back into its ramp",
                partial(put_back, self._switch, row.route, row.org),
            )
        except (OperationError, RolloutError) as error:
            self.change_refused(str(error))
        else:
            self.tell(f"{target_text(row.route, row.org)} is back in its ramp")

    def action_undo(self) -> None:
        """Undo the last change."""
        if self._may("undo"):
            self._change(self._switch.planner.plan_undo)

    def action_copy(self) -> None:
        """Send the selected id to the terminal's clipboard (OSC 52)."""
        row = self._row()
        if row is not None:
            text = visible(row.route if row.org in (None, ALL_ORGS) else str(row.org))
            self.app.copy_to_clipboard(text)
            self.tell(f"{text}: sent to the terminal's clipboard")

    def action_trouble(self, by: int) -> None:
        """Show the next alert on the alarm line, and move the cursor to what it is about."""
        alert = self._alarms.jump(by)
        if alert is None:
            self.tell("nothing is wrong that has not been acknowledged")
        elif alert.route is not None:
            self.leave()
            self._go_to(alert.route, alert.org)
        self._show_alarm()

    @property
    def position(self) -> Position:
        """Where the cursor is."""
        row = self._row()
        return Position("home", None if row is None else row.key)

    def leave(self) -> None:
        """Keep the position in the jump list, before a jump."""
        self._session.jumps.leave(self.position)

    def go_to_row(self, key: RowKey) -> None:
        """Move the cursor to a row by its key; to its route's where it is gone or folded."""
        if not self.query_one(RolloutTable).move_to_row(key):
            self._go_to(key[0], key[1])

    def _go_to(self, route: str, org: str | None) -> None:
        """Move the cursor to an org or a route, which a filter or a fold may hide."""
        table = self.query_one(RolloutTable)
        if table.move_to_row((route, org, "")):
            return
        self.query_one("#filter", Input).value = self._view.filter = ""
        if org is not None:
            self._view.unfold(route)
        self._rebuild()
        if not table.move_to_row((route, org, "")):
            table.move_to_row((route, None, ""))

    def action_acknowledge(self) -> None:
        """Acknowledge the alert that the alarm line shows: the line goes on to the next.

        One that has taken the place of another just before the key was typed is not meant.
        """
        alert = self._alarms.current
        if alert is None:
            self.change_refused("no alarm is shown")
        elif alert.key != self._alarm_shown or not self._alarm_sight.is_seen:
            self.change_refused("not acknowledged: the alarm line has just changed; a again")
        elif self._session.acknowledge(alert, f"{self._facts.user}@{self._facts.host}"):
            what = first_clauses(shown(alert.fact or alert.sentence), _MOST_TOLD)
            self.tell(f"acknowledged: {what}; 5 lists it until it is over")
        self._show_alarm()

    def action_fold(self) -> None:
        """Fold or unfold the selected row's route."""
        row = self._row()
        if row is not None:
            self._view.fold(row.route)
            self._rebuild_around(row)

    def action_fold_all(self) -> None:
        """Fold all routes, or unfold them."""
        row = self._row()
        self._view.fold_all()
        if row is not None:
            self._rebuild_around(row)

    def _rebuild_around(self, row: Row) -> None:
        """Rebuild; the cursor stays on its row, or goes to its route where that is folded."""
        self._rebuild(keeps_selected=False)
        table = self.query_one(RolloutTable)
        if not table.move_to_row(row.key):
            table.move_to_row((row.route, None, ""))

    def action_sort(self) -> None:
        """Sort by the next of worst, traffic, percent, name and the file's order."""
        order = self._view.next_order()
        self._rebuild()
        self.query_one(RolloutTable).refresh()
        self.tell("in the file's order" if order == "file" else f"sorted by {order}")

    def action_charts(self) -> None:
        """Show the next pair of charts, where only two fit."""
        self.query_one(ChartGrid).next_pair()
        self.draw_charts()

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.query_one(RolloutTable).move(by)

    def action_route(self, by: int) -> None:
        """Move the cursor to another route."""
        self.query_one(RolloutTable).move_route(by)

    def action_page(self, by: int) -> None:
        """Move the cursor by half a page."""
        self.query_one(RolloutTable).move_page(by)

    def action_first(self) -> None:
        """Move the cursor to the first row."""
        self.leave()
        self.query_one(RolloutTable).move_end(last=False)

    def action_last(self) -> None:
        """Move the cursor to the last row."""
        self.leave()
        self.query_one(RolloutTable).move_end(last=True)


def _why_not_share(row: Row, key: Key) -> str:
    """Return why a key does nothing on a share that has no latch; empty where it does."""
    if key.id == "ramp.back":
        return f"{row.label} has no ramp: only orgs with a line have one"
    return "" if row.points else f"{row.label} is at 0% already: R rolls the route back"
