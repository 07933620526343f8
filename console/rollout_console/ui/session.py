"""The session: what every screen of one console shares, and what outlives any of them."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from time import time

from textual.app import App

from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Done, Switch
from rollout_console.changes.traffic_diff import Move
from rollout_console.changes.under_way import awaited
from rollout_console.common.durations import target_text
from rollout_console.guard.alerts import Alert, Alerts, ModelTrouble, alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.objections import held_move, held_plan
from rollout_console.guard.rollback_figures import MOST_COMPARED, rollback_figures
from rollout_console.ui.change_flow import ChangeFlow, Listener, OneAtATime
from rollout_console.ui.jump_list import JumpList
from rollout_console.ui.under_way import Progress

ETCD_AWAY = "ETCD AWAY"
"""What is wrong with a rollout file in etcd: what is shown of it is of the last reading."""


class Session:
    """The rollout file, its figures, balance and alerts, and the one flow of changes.

    The app owns it and hands it to the screens; the home screen's followers feed it. ``lock`` keeps
    the file's follower away while a change is made; ``balance``, ``models`` (by route, what is
    wrong with its model), ``file_trouble`` and whether the file ``is_missing`` are as of the last
    look.
    """

    def __init__(self, switch: Switch, monitor: Monitor) -> None:
        self.switch = switch
        self.monitor = monitor
        self.balance = BalanceWatch(pending=True)
        self.alerts = Alerts()
        self.models: Mapping[str, ModelTrouble] = {}
        self.file_trouble = ""
        self.is_missing = False
        self.lock = asyncio.Lock()
        self.jumps = JumpList()
        self.progress = Progress(awaited(is_shared=switch.shared is not None, name=switch.name))
        self._turn = OneAtATime(self.progress)
        self._on_change: list[Callable[[Done], None]] = []

    def flow(self, app: App[None], listener: Listener) -> ChangeFlow:
        """Return the way a screen makes changes: one at a time with those of all others."""
        return ChangeFlow(app, self.switch, self.lock, self._turn, self.progress, self, listener)

    def subscribe(self, on_change: Callable[[Done], None]) -> None:
        """Call this with each change that is made from any screen."""
        self._on_change.append(on_change)

    def changed(self, done: Done) -> None:
        """Notify the subscribers of a change that was made."""
        for notify in self._on_change:
            notify(done)

    @property
    def file_words(self) -> str:
        """In two words what is wrong with the rollout file; empty where nothing is."""
        if not self.file_trouble:
            return ""
        shared = self.switch.shared
        if shared is None or not shared.trouble:
            return "FILE MISSING" if self.is_missing else "FILE BROKEN"
        return ETCD_AWAY if shared.is_away else "NOT COPIED"

    @property
    def file_advice(self) -> str:
        """What still works while something is wrong with the rollout file; empty else."""
        if not self.file_trouble:
            return ""
        if self.file_words == ETCD_AWAY:
            return "; servers keep the last good version, and can be rolled back one by one there"
        if self.file_words == "NOT COPIED":
            return ""
        return "; gates keep the last good version, r R ! still work"

    def new_alerts(self, now: float) -> list[Alert]:
        """Evaluate all alert conditions at a time (epoch seconds); return those that are new."""
        known = self.alerts.keys
        found = alerts_now(self.monitor, self.balance, self.models, self.file_trouble, now, known)
        began, _ = self.alerts.look(found, now)
        return began

    def acknowledge(self, alert: Alert, by: str) -> bool:
        """Acknowledge an alert; return whether it is still open. The history has it for others."""
        stands = self.alerts.acknowledge(alert.key, by)
        if stands:
            note = partial(
                self.switch.note_acknowledged, alert.route, alert.org, alert.fact or alert.sentence
            )
            asyncio.get_running_loop().run_in_executor(None, note)
        return stands

    def held_by_guard(self, plan: Plan) -> str:
        """Return the guard's first reason against what this plan raises, empty without one."""
        return held_plan(self.monitor, self.models, plan, self.balance, time())

    def held_move(self, move: Move, now: float) -> str:
        """Return the first reason against the raise of one share, empty without one."""
        return held_move(self.monitor, self.models, move, self.balance, now)

    def stale(self, plan: Plan) -> str:
        """Return why a plan will be refused, as its file is another by now, or, for a rollback,
        that it is made on the file as it is."""
        if self.monitor.file.revision == plan.prepared.before.revision or plan.rescues:
            return ""
        if plan.latches:  # alone it is the same on any version; of several a list is shown
            if not plan.parts:
                return ""
            return f"{self.switch.name} was changed meanwhile: this is made on it as it is now"
        return f"{self.switch.name} was changed meanwhile: this is refused; cancel, and ask again"

    def warning_of(self, plan: Plan) -> str:
        """Return how the side that a rollback leads to is failing; it is not held for that."""
        if plan.direction != "down":
            return ""
        now = time()
        some = plan.judged
        if len(some) == 1:
            return self.monitor.previous_now(*some[0], now)
        # No more than are compared in the figures: a confirm must not wait for 10,000 orgs.
        some = some[:MOST_COMPARED]
        each = ((one, self.monitor.previous_now(*one, now)) for one in some)
        found = [f"{target_text(*one)}: {trouble}" for one, trouble in each if trouble]
        more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
        return f"{found[0]}{more}" if found else ""

    def figures_of(self, plan: Plan) -> tuple[str, ...]:
        """Return what TokenLab and the previous side of a rollback do now, a line each."""
        return rollback_figures(self.monitor, plan.latched, time()) if plan.latches else ()

    def verdict_now(self, plan: Plan) -> str:
        """Return the guard's verdict of what the plan names, for the history."""
        return self.monitor.spoken_verdict_of(plan.judged, time())
