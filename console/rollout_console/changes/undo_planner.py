"""Plan an undo: the text before a change byte for byte, or its values alone among later edits."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from rollout_console.changes.edits import (
    Edit,
    SetDefaultPercent,
    SetPercent,
    SetRolledBack,
    SetShare,
    SetText,
    stamp_of,
)
from rollout_console.changes.effect_words import (
    STATES,
    named_targets,
    spoken_target,
    still_latched,
    way_back,
)
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.plan import ALL_ORGS, Part, Plan
from rollout_console.changes.recorded import TABLES, recorded_target
from rollout_console.common.errors import NothingToDo
from rollout_console.history.actor import Actor
from rollout_console.history.errors import HistoryError
from rollout_console.history.history import History
from rollout_console.history.rows import Change
from rollout_gate.file.errors import FileError, PercentError
from rollout_gate.file.parse import parse
from rollout_gate.file.percent import parse_percent, percent_text
from rollout_gate.file.revision import SHORT

_REGRET = timedelta(minutes=2)
"""How long an operator's own rollback can be undone without evidence for the guard."""


class UndoPlanner:
    """Plans the undo of changes of one rollout file; writes nothing."""

    def __init__(
        self, store: RolloutStore, history: History, who: Actor, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._history = history
        self._who = who
        self._clock = clock

    def plan(self) -> Plan:
        """Plan the undo of the newest change that has not been undone; raises NothingToDo."""
        change = self._history.last_undoable(self._store.path)
        if change is None:
            raise NothingToDo(f"there is no change of {self._store.name} to undo")
        snapshot = self._store.last_good()
        group = self._history.group_of(change)
        if len(group) > 1:
            return self._plan_group(group)
        action = "set" if change.action in TABLES else change.action
        target = spoken_target(*recorded_target(change))
        what = f"undo of {action} {target}"
        if change.revision == snapshot.revision and not self._was_rescue(change):
            prepared = self._store.prepare_text(
                self._history.text_of(self._store.path, change.previous_revision)
            )
            effect = f"{what}: {way_back(change)} in {self._store.name}"
            effect += still_latched(change, prepared.after.file)
            return Plan(
                "undo", change.route, change.org, change.after, change.before, effect,
                prepared, undoes_id=change.id, regrets=self._regrets(change),
                table=TABLES.get(change.action, ""),
            )  # fmt: skip
        edit = self._inverse(change)
        if edit is None or self._says_now(change) != change.after:
            raise NothingToDo(
                f"what that {action} of {target} set was"
                " changed since; set it by hand, or put the whole text back with restore"
                f" {change.previous_revision[:SHORT]}"
            )
        effect = f"{what}: {way_back(change)} in {self._store.name}; later edits stay"
        prepared = self._store.prepare([edit])
        effect += still_latched(change, prepared.after.file)
        return Plan(
            "undo", change.route, change.org, change.after, change.before, effect,
            prepared, (edit,), change.id, table=TABLES.get(change.action, ""),
        )  # fmt: skip

    def _plan_group(self, group: Sequence[Change]) -> Plan:
        """Plan the undo of all rows of one write, as one change.

        With later edits in the file, the values that these have set since stay as they are.
        """
        first, snapshot = group[0], self._store.last_good()
        back = "back in force" if first.action == "rollback" else "their percents before"
        action = "set" if first.action in TABLES else first.action
        what = f"undo of {action} of {len(group)} lines: {back} in {self._store.name}"
        is_newest = first.revision == snapshot.revision and not self._was_rescue(first)
        edits: list[Edit] = []
        undone = list(group)
        if is_newest:
            prepared = self._store.prepare_text(
                self._history.text_of(self._store.path, first.previous_revision)
            )
        else:
            pairs = [
                (row, edit)
                for row in group
                if self._says_now(row) == row.after and (edit := self._inverse(row)) is not None
            ]
            if not pairs:
                raise NothingToDo(
                    f"what that {action} of {len(group)} lines set was changed since; set it"
                    " by hand, or put the whole text back with restore "
                    f"{first.previous_revision[:SHORT]}"
                )
            undone, edits = [row for row, _ in pairs], [edit for _, edit in pairs]
            prepared = self._store.prepare(edits)
            what += "; later edits stay"
            if changed := [row for row in group if row not in undone]:
                since = [recorded_target(row) for row in changed]
                what += f"; changed since: {named_targets(since)}"
        for row in undone:
            if still := still_latched(row, prepared.after.file):
                what += still  # named once: it is mostly the same latch
                break
        parts = tuple(
            Part(row.route, row.org, row.after, row.before, table=TABLES.get(row.action, ""))
            for row in undone
        )
        return Plan(
            "undo", None, None, first.after, first.before, what, prepared, tuple(edits), first.id,
            regrets=is_newest and self._regrets(first), parts=parts,
        )  # fmt: skip

    def _says_now(self, change: Change) -> str:
        """Return the current value of what a change set, in the notation of the history."""
        file = self._store.last_good().file
        route = file.routes.get(change.route or "")
        if change.route is not None and route is None:
            return ""
        if change.action in ("rollback", "resume"):
            latched = file.rolled_back if route is None else route.rolled_back
            if route is not None and change.org is not None:
                latched = route.org_rolled_back(change.org)
            return STATES[latched]
        if route is None:
            return ""
        if change.action in ("model", "phase"):
            return route.model if change.action == "model" else route.phase
        if change.action in TABLES:
            shares = route.keys if change.action == "set_alias" else route.flags
            points = shares.get(change.org or "")
            return "" if points is None else percent_text(points)
        if change.org == ALL_ORGS:
            return percent_text(route.default_points)
        return percent_text(route.org_points(change.org or ""))

    def _inverse(self, change: Change) -> Edit | None:
        """Return the edit that reverts a recorded change, where that is a single value."""
        if change.action == "resume":
            stamp = f"{stamp_of(self._clock(), self._who.name)}undo of resume"
            return SetRolledBack(True, change.route, change.org, stamp)
        return _edit_back(change)

    def _regrets(self, change: Change) -> bool:
        """Whether a change is the operator's own recent rollback, without the guard's verdict."""
        mine = (change.user, change.host) == (self._who.user, self._who.host)
        age = self._clock() - change.at
        just_now = timedelta(0) <= age <= _REGRET
        return (
            change.action == "rollback" and mine and just_now and "rollback" not in change.verdict
        )

    def _was_rescue(self, change: Change) -> bool:
        """Whether the text before was invalid, so that it must not be restored."""
        try:
            parse(self._history.text_of(self._store.path, change.previous_revision))
        except (FileError, HistoryError):
            return True
        return False


def _edit_back(change: Change) -> Edit | None:
    """Return the edit that reverts a recorded change, a resume excepted."""
    if change.action == "rollback":
        return SetRolledBack(False, change.route, change.org)
    if change.action == "model" and change.route:
        return SetText(change.route, "model", change.before)
    if change.action == "phase" and change.route:
        return SetText(change.route, "phase", change.before)
    if change.action in ("set", *TABLES) and change.route and change.org:
        if change.action in TABLES and not change.before:
            return SetShare(change.route, TABLES[change.action], change.org, None)  # it was new
        try:
            points = parse_percent(change.before)
        except PercentError:
            return None  # a damaged row
        if change.action in TABLES:
            return SetShare(change.route, TABLES[change.action], change.org, points)
        if change.org == ALL_ORGS:
            return SetDefaultPercent(change.route, points)
        return SetPercent(change.route, change.org, points)
    return None
