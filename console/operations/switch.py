"""Changing the switch: the one way to do it, for the screen and for the commands alike."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from console.history.errors import HistoryError
from console.history.history import Change, History, NewChange
from console.history.who import Who
from console.operations.errors import Held, NothingToDo, NotRecorded, ReadOnly
from console.operations.plan import Plan
from console.rollout.edits import Edit, SetDefaultPercent, SetPercent, SetRolledBack
from console.rollout.errors import FileError, RolloutError, UnknownOrg, UnknownRoute
from console.rollout.model import Route
from console.rollout.parse import parse
from console.rollout.percent import parse_percent, percent_text
from console.rollout.revision import SHORT
from console.store.errors import Conflict, StoreError
from console.store.store import RolloutStore, Snapshot
from console.store.swap import set_aside

ALL_ORGS = "*"
"""In place of an org: the route's default, for orgs without a line of their own."""

_TRIES = 5
_LOOK_BACK = 50


@dataclass(frozen=True, slots=True)
class Done:
    """A change that was made: the file as it is now, and what did not go as well as it should."""

    plan: Plan
    snapshot: Snapshot
    at: datetime
    warnings: tuple[str, ...] = ()
    kept_as: str = ""
    """The name of the file that keeps the broken text, where the last good version replaced one."""


class Switch:
    """Plans changes of one rollout file, makes them, and keeps their history.

    A plan is worked out against the file as it was last read. ``apply`` compares and swaps: where
    somebody else changed the file in between, a raise is refused as a Conflict, and a rollback is
    worked out again on top of what they wrote, never over it.
    """

    def __init__(
        self,
        path: Path,
        history: History,
        who: Who,
        *,
        read_only: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = RolloutStore(path)
        self.history = history
        self.read_only = read_only
        self.who = who
        self._clock = clock
        self._ours: set[str] = set()

    @property
    def path(self) -> Path:
        """The rollout file's path, as it was given."""
        return self.store.path

    def open(self) -> Snapshot:
        """Read the file; raises StoreError or FileError."""
        snapshot = self.store.open()
        self._ours.add(snapshot.revision)
        if not self.read_only:
            # What is wrong with the history is said when a change is made.
            with suppress(HistoryError):
                self.history.reconcile(self.store.path, snapshot.revision)
        return snapshot

    def open_or_last_good(self) -> Snapshot:
        """As ``open``; of a file that cannot be used, the newest good text of the history.

        Only for a rollback, which must work then too. Raises StoreError or FileError where the
        history has none.
        """
        try:
            return self.open()
        except RolloutError:
            rows, _ = self.recent(_LOOK_BACK)
            for revision in dict.fromkeys(row.revision for row in rows):
                with suppress(HistoryError, RolloutError):
                    return self.store.adopt(self.history.text_of(self.path, revision))
            raise

    def refresh(self, *, settled: bool = False) -> tuple[Snapshot, bool] | None:
        """Look for a change of the file; with ``settled``, for one that is not half-written.

        Return None where there is none, else the new snapshot and whether somebody else made it.
        Raises StoreError or FileError while the file cannot be used; the last good one stays.
        """
        before = self.store.snapshot
        snapshot = self.store.refresh(settled=settled)
        if snapshot is None:
            return None
        foreign = snapshot.revision not in self._ours
        self._ours.add(snapshot.revision)
        if foreign and before is not None and not self.read_only:
            # Their edit stands, recorded or not.
            with suppress(HistoryError):
                self.history.record_external(
                    self.path,
                    Who("", self.who.host),
                    self._clock(),
                    (before.revision, before.data),
                    (snapshot.revision, snapshot.data),
                )
        return snapshot, foreign

    def recent(self, limit: int) -> tuple[list[Change], str]:
        """Return the newest changes, or none and the reason why they cannot be read."""
        try:
            return self.history.rows(self.path, limit), ""
        except HistoryError as error:
            return [], str(error)

    # -- plans ---------------------------------------------------------------------------------

    def plan_set(self, route: str, org: str, points: int) -> Plan:
        """Plan an org's share (basis points); ``org`` may be ALL_ORGS for the route's default."""
        found = self._route(route)
        edit: Edit
        if org == ALL_ORGS:
            before = found.default_points
            edit = SetDefaultPercent(route, points)
            name = "orgs without a line"
        else:
            if not org:
                raise UnknownOrg(route, org)
            before = found.org_points(org)
            edit = SetPercent(route, org, points)
            name = org
        effect = (
            f"{route} / {name} {percent_text(before)}% to {percent_text(points)}% in {self._name}"
        )
        if self._latched(found, org):
            effect += " (stays rolled back until resumed)"
        return self._plan(
            "set", route, org, (percent_text(before), percent_text(points)), effect, edit
        )

    def plan_rollback(
        self, route: str | None = None, org: str | None = None, reason: str = ""
    ) -> Plan:
        """Plan a latch to the previous side: an org on a route, a route, or everything.

        Where the file is broken or gone, the plan is to put its last good version back with the
        latch in it, and to keep the broken text beside it; ``Plan.rescues`` then says why.
        """
        return self._plan_latch(True, route, org, reason)

    def plan_resume(self, route: str | None = None, org: str | None = None) -> Plan:
        """Plan the end of a latch; the percents are what they were."""
        return self._plan_latch(False, route, org, "")

    def plan_undo(self) -> Plan:
        """Plan the newest change of ours that has not been undone, taken back.

        Where the file is still what that change left, its text before is put back to the byte.
        Otherwise only the one value is, and everybody's later edits stay.
        """
        change = self.history.last_undoable(self.path)
        if change is None:
            raise NothingToDo(f"there is no change of {self._name} to undo")
        snapshot = self._snapshot()
        what = f"undo of {change.action} {_target(change.route, change.org)}"
        if change.revision == snapshot.revision and not self._was_rescue(change):
            prepared = self.store.prepare_text(
                self.history.text_of(self.path, change.previous_revision)
            )
            effect = f"{what}: {change.after} back to {change.before} in {self._name}"
            return Plan(
                "undo", change.route, change.org, change.after, change.before, effect,
                prepared, undoes_id=change.id,
            )  # fmt: skip
        edit = _inverse(change)
        if edit is None:
            raise NothingToDo(
                f"{self._name} was changed since that {change.action}; use restore "
                f"{change.previous_revision[:SHORT]} to put the whole text back"
            )
        effect = f"{what}: {change.after} back to {change.before} in {self._name}; later edits stay"
        prepared = self.store.prepare([edit])
        return Plan(
            "undo", change.route, change.org, change.after, change.before, effect,
            prepared, (edit,), change.id,
        )  # fmt: skip

    def plan_restore(self, revision: str) -> Plan:
        """Plan a whole earlier text, by its revision or the start of it."""
        prepared = self.store.prepare_text(self.history.text_of(self.path, revision))
        before, after = prepared.before.revision[:SHORT], prepared.after.revision[:SHORT]
        effect = f"the whole of {self._name} back to revision {after} (now {before})"
        return Plan("restore", None, None, before, after, effect, prepared)

    # -- making them ---------------------------------------------------------------------------

    def apply(
        self,
        plan: Plan,
        *,
        reason: str = "",
        verdict: str = "",
        held: str = "",
        override: bool = False,
    ) -> Done:
        """Make the change; raises ReadOnly, NothingToDo, Held, NotRecorded, Conflict, StoreError.

        ``held`` is the guard's reason against a raise, empty where it has none; ``override`` sets
        it aside and needs a reason. Lowering obeys neither. Nothing is half-done after an error.
        """
        if self.read_only:
            raise ReadOnly
        if plan.changes_nothing:
            raise NothingToDo(f"nothing to do: {plan.effect}: the file already says so")
        lowers = plan.direction != "up"
        if held and not lowers and not (override and reason.strip()):
            raise Held(f"the guard holds this raise: {held}; override it with a reason")
        for left in range(_TRIES - 1, -1, -1):
            try:
                return self._make(plan, reason, verdict or held, lowers)
            except Conflict:
                if not (lowers and plan.edits and left):
                    raise
                plan = self._again(plan)
        raise AssertionError("unreachable")

    def _again(self, plan: Plan) -> Plan:
        """Work a lowering out again on the file as somebody else just left it.

        A file that they left broken is not replaced without having been asked.
        """
        self.refresh()
        prepared = self.store.prepare(plan.edits)
        again = Plan(
            plan.action, plan.route, plan.org, plan.before, plan.after, plan.effect,
            prepared, plan.edits, plan.undoes_id,
        )  # fmt: skip
        if again.changes_nothing:
            raise NothingToDo(f"somebody else did it first: {plan.effect}")
        return again

    def _make(self, plan: Plan, reason: str, verdict: str, lowers: bool) -> Done:
        at = self._clock()
        warnings: list[str] = []
        row: int | None = None
        kept_as = self._set_aside(plan, at, warnings)
        try:
            row = self.history.begin(self._new_change(plan, at, reason, verdict))
        except HistoryError as error:
            if not lowers:
                raise NotRecorded(f"not changed, because it cannot be recorded: {error}") from None
            warnings.append(f"done, but not in the history: {error}")
        try:
            snapshot = self.store.write(plan.prepared)
        except BaseException:
            self._settle(row, self.history.abandon, [])
            raise
        self._ours.add(snapshot.revision)
        self._settle(row, self.history.commit, warnings)
        return Done(plan, snapshot, at, tuple(warnings), kept_as)

    def _set_aside(self, plan: Plan, at: datetime, warnings: list[str]) -> str:
        """Keep a broken text that somebody may have spent an hour on; the history has it too."""
        if not plan.rescues or not plan.prepared.before.data:
            return ""
        try:
            aside = set_aside(
                self.path, plan.prepared.before.data, f"broken-{at:%Y%m%dT%H%M%S.%fZ}"
            )
        except StoreError as error:
            warnings.append(f"the broken text is in the history alone: {error}")
            return ""
        return aside.name

    def _settle(self, row: int | None, how: Callable[[int], None], warnings: list[str]) -> None:
        """An intent row that cannot be settled now is settled at the next start."""
        if row is None:
            return
        try:
            how(row)
        except HistoryError as error:
            warnings.append(f"done; its history row will be settled at the next start: {error}")

    def _new_change(self, plan: Plan, at: datetime, reason: str, verdict: str) -> NewChange:
        return NewChange(
            file=self.path,
            at=at,
            who=self.who,
            action=plan.action,
            route=plan.route,
            org=plan.org,
            before=plan.before,
            after=plan.after,
            reason=reason,
            verdict=verdict,
            previous_revision=plan.prepared.before.revision,
            revision=plan.prepared.after.revision,
            before_text=plan.prepared.before.data,
            after_text=plan.prepared.after.data,
            undoes_id=plan.undoes_id,
        )

    # -- helpers -------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self.path.name

    def _snapshot(self) -> Snapshot:
        return self.store.snapshot or self.open()

    def _route(self, name: str) -> Route:
        routes = self._snapshot().file.routes
        if name not in routes:
            raise UnknownRoute(name, list(routes))
        return routes[name]

    def _latched(self, route: Route, org: str) -> bool:
        return self._snapshot().file.rolled_back or route.rolled_back or route.org_rolled_back(org)

    def _plan_latch(self, latch: bool, route: str | None, org: str | None, reason: str) -> Plan:
        file = self._snapshot().file
        target = _target(route, org)
        if route is None:
            was, share = file.rolled_back, "all traffic"
            named = f"{target}: "
        else:
            found = self._route(route)
            was = found.rolled_back if org is None else found.org_rolled_back(org)
            share = "all its traffic" if org is None else f"{percent_text(found.org_points(org))}%"
            named = f"{target}: " if org is None else f"{target} "
        stamp = f"{self._clock():%Y-%m-%dT%H:%M:%SZ} {self.who.user}@{self.who.host}: "
        edit = SetRolledBack(
            latch, route, org, stamp + (reason or "by the operator") if latch else ""
        )
        if latch:
            effect = f"{named}{share} to 0% in {self._name}: rolled back until resumed"
        else:
            effect = f"{target} resumed at {share} in {self._name}"
            if route is not None and (held_by := self._outer_latch(route, org)):
                effect += f" (still rolled back by {held_by})"
        states = ("in force", "rolled back")
        return self._plan(
            "rollback" if latch else "resume",
            route,
            org,
            (states[was], states[latch]),
            effect,
            edit,
            rescue=latch,
        )

    def _was_rescue(self, change: Change) -> bool:
        """Whether the text before was a broken one, which is not to come back."""
        try:
            parse(self.history.text_of(self.path, change.previous_revision))
        except (FileError, HistoryError):
            return True
        return False

    def _outer_latch(self, route: str, org: str | None) -> str:
        file = self._snapshot().file
        if file.rolled_back:
            return "the file"
        return f"route {route}" if org is not None and file.routes[route].rolled_back else ""

    def _plan(
        self,
        action: str,
        route: str | None,
        org: str | None,
        states: tuple[str, str],
        effect: str,
        edit: Edit,
        *,
        rescue: bool = False,
    ) -> Plan:
        edits = (edit,)
        prepared = self.store.prepare_rescue(edits) if rescue and self.store.trouble else None
        if prepared is None:
            prepared = self.store.prepare(edits)
        else:
            good = (self._snapshot().revision)[:SHORT]
            effect += f"; {self._name} cannot be used now: its last good version {good} is put back"
        return Plan(action, route, org, *states, effect, prepared, edits)


def _target(route: str | None, org: str | None) -> str:
    if route is None:
        return "everything"
    return f"route {route}" if org is None else f"{route} / {org}"


def _inverse(change: Change) -> Edit | None:
    """The edit that takes one recorded change back, where one value says it all."""
    if change.action == "rollback":
        return SetRolledBack(False, change.route, change.org)
    if change.action == "resume":
        return SetRolledBack(True, change.route, change.org)
    if change.action == "set" and change.route and change.org:
        points = parse_percent(change.before)
        if change.org == ALL_ORGS:
            return SetDefaultPercent(change.route, points)
        return SetPercent(change.route, change.org, points)
    return None
