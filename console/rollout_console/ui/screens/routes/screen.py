"""The routes screen: checks, probes and phase of each route, and its missing exit checks."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from time import time
from typing import Any, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.health.log.probe_log import ProbeLine, last_probes, probe_log_path, probe_text
from rollout_console.models.catalogue import Catalogue
from rollout_console.readiness.checks.result import Result
from rollout_console.readiness.exit_checks import HEALTHY, CheckState
from rollout_console.readiness.phases import Phases, PhaseState
from rollout_console.ui.keymap import CONTEXTS, ROUTE_KEYS, Key
from rollout_console.ui.reading import Reading
from rollout_console.ui.screens.base import FAULTS, ChangingScreen
from rollout_console.ui.screens.home.status import StatusFacts
from rollout_console.ui.screens.routes.actions import RouteFlows
from rollout_console.ui.screens.routes.waits import Waits, waits_for
from rollout_console.ui.session import Session
from rollout_console.ui.text import first_clauses, fit, fit_middle
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import Cells, LineTable

EVERY_S = 10.0
"""Seconds between reloads of logs and history while the screen is open."""
_CLAUSES = (" · ", " (and ", "; ", ", ")
"""Where what a route waits for is cut off in a narrow column."""


class RoutesScreen(ChangingScreen):
    """Lists routes with phase, checks and probes; below, the exit checks of the selected one."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in ROUTE_KEYS]
    CONTEXT = "routes"
    KEYS = ROUTE_KEYS
    NOTICE = "#routes-notice"

    DEFAULT_CSS = """
    RoutesScreen { layout: vertical; background: $background; }
    RoutesScreen #routes-status { background: $panel; }
    RoutesScreen LineTable { height: 1fr; }
    RoutesScreen #phase { height: 2fr; border-top: solid $panel; padding: 0 1; }
    """

    def __init__(
        self, session: Session, room: ApiKeys, models: Catalogue, facts: StatusFacts
    ) -> None:
        super().__init__(session)
        switch = self._switch = session.switch
        self._monitor = session.monitor
        self._room = room
        self._models = models
        self._facts = facts
        self._phases = Phases(switch)
        self._probes: Mapping[tuple[str, str], ProbeLine] = {}
        self._results: Sequence[Result] = ()
        self._reading = Reading("phases, log and probes", EVERY_S)
        self._unread = ""
        self._waits: dict[str, Waits] = {}
        self._verdicts: dict[str, Verdict] = {}

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down."""
        yield TextLine(id="routes-status")
        yield self.alarm_line()
        yield LineTable[PhaseState](self._draw_row, self._draw_header, lambda state: state.route)
        with VerticalScroll(id="phase", can_focus=False):
            yield Static("", markup=False)
        yield TextLine(id="routes-notice")
        yield KeyBar(CONTEXTS[self.CONTEXT], self.why_not, self._facts.keymap)

    def opened(self) -> None:
        """Show what is known, and start loading the rest."""
        self._flows = RouteFlows(
            self.app, self._switch, self._room, self._models, self._phases, self._monitor,
            self._session.flow(self.app, self), self,
        )  # fmt: skip
        self._table.focus()
        self.reload()
        self.draw_lines()
        self.set_interval(1.0, self._each_second)

    def _each_second(self) -> None:
        """Read again when it is time to, and say for how long a read is under way or due."""
        if self._reading.is_due(time()):
            self.reload()
        self.draw_lines()
        selected = self._table.selected
        if selected is not None:  # the others with the next read: a judgement takes time
            route = selected.route
            before = self._waits.get(route), self._verdicts.get(route)
            self._judge([selected])
            if (self._waits.get(route), self._verdicts.get(route)) != before:
                self._table.refresh_numbers()
                self._draw_phase()

    def _judge(self, states: Sequence[PhaseState]) -> None:
        now, session = time(), self._session
        self._verdicts = self._monitor.verdicts(now)
        for state in states:
            self._waits[state.route] = (
                ("the rollout file cannot be used: see home", "table--bad")
                if session.file_trouble
                else waits_for(state, self._monitor, session.models, session.balance, now)
            )

    @property
    def _table(self) -> LineTable[PhaseState]:
        return cast("LineTable[PhaseState]", self.query_one(LineTable))

    def reload(self) -> None:
        """Re-evaluate the routes: phases, exit checks and probes."""
        self._reading.begin(time())
        self._read()

    def action_reload(self) -> None:
        """Re-evaluate the routes before the timer does."""
        self.reload()

    @work(group="routes-read", exclusive=True, exit_on_error=False)
    async def _read(self) -> None:
        file, verdicts = self._monitor.file, self._monitor.verdicts(time())
        log = probe_log_path(self._switch.path, file)
        try:
            states = await asyncio.to_thread(self._phases.states, file, verdicts)
            self._probes = await asyncio.to_thread(last_probes, log)
        except FAULTS as error:
            self._trouble = self._unread = str(error)
            self._reading.end(time(), error)
            self.draw_lines()
            return
        if self._trouble == self._unread:  # else keep it: an action's error
            self._trouble = ""
        self._unread = ""
        self._reading.end(time())
        self._waits.clear()
        self._judge(states)
        self._table.set_rows(states)
        self._table.refresh_numbers()
        self.draw_lines()
        self._draw_phase()

    # -- drawing ---------------------------------------------------------------------------------

    def _draw_header(self, width: int) -> Cells:
        name, waits, each = _widths(width - 1)
        text = fit("route", name - 1) + fit("phase", 10) + fit("left", 6) + fit("check", 7)
        text += fit("waits for", waits)
        if each:
            text += fit("probe: TokenLab", each) + fit("previous", each)
        return [(f"  {text}", "table--head")]

    def _draw_row(self, state: PhaseState, width: int) -> Cells:
        name, waits, each = _widths(width)
        words, style = self._waits.get(state.route, ("", ""))
        left = len(state.missing)
        cells: list[tuple[str, str]] = [
            (" " + fit_middle(visible(state.route), name - 2) + " ", ""),
            (fit(state.phase, 10), "table--route"),
            (fit(str(left) if left else "ready", 6), "table--dim" if left else "table--good"),
            self._check_cell(state.route),
            (
                fit(visible(first_clauses(words, waits - 1, _CLAUSES)), waits),
                style,
            ),
        ]
        for side in ("tokenlab", "previous") if each else ():
            one = self._probes.get((state.route, side))
            words = "never" if one is None else probe_text(one, time())
            style = "table--dim" if one is None else "table--bad" if one.problems else "table--good"
            cells.append((fit(visible(words), each - 1) + " ", style))
        return cells

    def _check_cell(self, route: str) -> tuple[str, str]:
        if not self._results:
            return fit("–", 7), "table--dim"
        bad = sum(not one.ok and one.concerns(route) for one in self._results)
        return (fit(f"{bad} fail", 7), "table--bad") if bad else (fit("ok", 7), "table--good")

    def draw_lines(self) -> None:
        """Redraw status, notice and key hints."""
        facts, file = self._facts, self._monitor.file
        words = self._reading.words(time())
        count = counted(len(file.routes), "route")
        self.query_one("#routes-status", TextLine).say(
            (" routes", "bold"), (" ▸ ", "$accent"), (count, "bold"),
            facts.writes,
            (f"  {words}" if words else f"  plan in {self._phases.plan_name}",
             "$warning" if words else ""),
            (f"  {visible(file.base_url)}", "$foreground 70%"),
        )  # fmt: skip
        self.show_notice()
        self.query_one(KeyBar).update_keys()

    def _draw_phase(self) -> None:
        state = self._table.selected
        pieces: list[tuple[str, str]] = []
        if state is not None:
            owner = visible(state.owner) or "nobody"
            pieces.append((f"{visible(state.route)}: before {state.phase} ends", "bold"))
            pieces.append((f"   owner: {owner}\n", "" if state.owner else "$warning"))
            words, style = self._waits.get(state.route, ("", ""))
            pieces.append((f"next step waits for: {visible(words)}\n", _STYLES.get(style, "")))
            _, _, each = _widths(self._table.size.width - 1)
            for side in ("tokenlab", "previous") if not each else ():
                last = self._probes.get((state.route, side))
                probed = "never" if last is None else probe_text(last, time())
                pieces.append((f"probe of {side}: {visible(probed)}\n", "$foreground 60%"))
            for one in state.states:
                one = self._as_of_now(state.route, one)
                mark, style = ("[x]", "$success") if one.done else ("[ ]", "$warning")
                pieces.append((f"{mark} ", style))
                pieces.append((f"{one.check.words}\n", ""))
                pieces.append((f"    {visible(one.why)}\n", "$foreground 60%"))
        self.query_one("#phase Static", Static).update(Content.assemble(*pieces))

    def _as_of_now(self, route: str, one: CheckState) -> CheckState:
        """Return a check's state, that of the guard's verdict with the figures that are above it.

        The others are of the last read: the verdict's would be a second number for one fact.
        """
        verdict = self._verdicts.get(route)
        if one.check.id != HEALTHY or verdict is None:
            return one
        done = verdict.kind == "ok"
        why = verdict.words if done else f"{verdict.words}; {one.check.fix}"
        return CheckState(one.check, done, why)

    def on_resize(self) -> None:
        """Redraw the details: they have what the table has no room for."""
        if self._reading.done:
            self._draw_phase()

    def checked(self, results: Sequence[Result]) -> None:
        """Keep and show the results of the checks."""
        self._results = results
        self._table.refresh_numbers()

    @on(LineTable.Moved)
    def _row_changed(self) -> None:
        self._draw_phase()
        self.query_one(KeyBar).update_keys()

    # -- what can be done now --------------------------------------------------------------------

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        nothing = "nothing is changed or sent; start without --read-only"
        if reason := self._facts.why_read_only(key, nothing):
            return reason
        needs_route = key.id.removeprefix("routes.") in (
            "probe", "shadow", "tick", "owner", "next", "back", "copy",
        )  # fmt: skip
        if needs_route and self.is_mounted and self._table.selected is None:
            return "no route is selected"
        return ""

    def _may(self, name: str) -> PhaseState | None:
        return self._table.selected if self.may(f"routes.{name}") else None

    # -- actions ---------------------------------------------------------------------------------

    def _of_route(self, name: str, flow: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        state = self._may(name)
        if state is not None:
            self.start(partial(flow, state.route))

    def _of_state(self, name: str, flow: Callable[[PhaseState], Coroutine[Any, Any, None]]) -> None:
        state = self._may(name)
        if state is not None:
            self.start(partial(flow, state))

    def action_check(self) -> None:
        """Run every rule, offline and online."""
        if self.may("routes.check"):
            self.start(self._flows.check)

    def action_probe(self) -> None:
        """Send one minimal real request to each side."""
        self._of_route("probe", self._flows.probe)

    def action_shadow(self) -> None:
        """Send a sample of prompts to both sides, and let the operator judge the answers."""
        self._of_route("shadow", self._flows.shadow)

    def action_tick(self) -> None:
        """Tick or untick an exit check."""
        self._of_state("tick", self._flows.tick)

    def action_owner(self) -> None:
        """Name owner and contacts."""
        self._of_state("owner", self._flows.owner)

    def action_move(self, by: int) -> None:
        """Go to the next phase, or one back."""
        state = self._may("next" if by > 0 else "back")
        if state is not None:
            self.start(partial(self._flows.move, state.route, by))

    def action_playbook(self) -> None:
        """Write the support playbook."""
        if self.may("routes.playbook"):
            self.start(self._flows.write_playbook)

    def action_row(self, by: int) -> None:
        """Move the cursor."""
        self._table.move(by)

    def action_page(self, by: int) -> None:
        """Move half a page."""
        self._table.move_page(by)

    def action_end(self, last: bool) -> None:
        """Go to the first or the last route."""
        self._table.move_end(last)

    def action_copy(self) -> None:
        """Copy the route's name."""
        state = self._may("copy")
        if state is not None:
            self.app.copy_to_clipboard(visible(state.route))
            self.say(f"{state.route}: sent to the terminal's clipboard")

    def go_back(self) -> bool:
        """Dismiss the notice; return whether there was one."""
        something = bool(self._told or self._trouble)
        self._told, self._trouble = "", ""
        self.draw_lines()
        return something


_STYLES = {"table--bad": "$error", "table--good": "$success", "table--dim": "$warning"}
"""The styles of what a route waits for, below the table."""


def _widths(width: int) -> tuple[int, int, int]:
    """Return the widths of the route's name, of what it waits for, and of each probe's words.

    A table that is too narrow for the probes has none: they are below it.
    """
    left = width - 10 - 6 - 7
    name = min(24, max(10, left // 4))
    left -= name
    each = min(34, left // 4) if left >= _PROBES_FROM else 0
    return name, max(left - 2 * each, 8), each


_PROBES_FROM = 80
"""The width in cells, of what a route waits for and the probes, from which both fit."""
