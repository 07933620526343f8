"""Change the rollout file (the switch): the only code path, for screen, commands and guard."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path

import msgspec
from msgspec.structs import replace

from rollout_console.changes.atomic_swap import set_aside
from rollout_console.changes.edits import SetRolledBack, stamped_at
from rollout_console.changes.errors import Conflict, DiskFull, NotWritable, StoreError, Written
from rollout_console.changes.external_edits import described, gives_back, words_of
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.leftovers import recovered
from rollout_console.changes.mirrored import is_put_back, mirrored_from, record_path
from rollout_console.changes.plan import Plan, Table, named_share
from rollout_console.changes.planner import Planner
from rollout_console.changes.recorded import Recorded, to_json
from rollout_console.changes.shared import Shared
from rollout_console.changes.side_file import Publisher
from rollout_console.changes.snapshot import Snapshot
from rollout_console.changes.spread import Spread
from rollout_console.common.errors import Held, NothingToDo, NotRecorded
from rollout_console.common.write_access import WriteAccess
from rollout_console.history.actor import Actor
from rollout_console.history.errors import HistoryError
from rollout_console.history.history import History
from rollout_console.history.rows import UNKNOWN_AUTHOR, Change, Edited, NewChange
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.revision import SHORT
from rollout_gate.secret import redacted

_TRIES = 5
_ROWS_AGAIN = 100
"""History rows that are read again at each look: write-ahead rows may be settled out of order."""
_REVISIONS_TRIED = 50
"""Limit of the revisions of the history that are tried in place of an invalid file."""


class Done(msgspec.Struct, frozen=True):
    """A change that was made: the new version of the file, and warnings."""

    plan: Plan
    snapshot: Snapshot
    at: datetime
    warnings: tuple[str, ...] = ()
    kept_as: str = ""
    """The name of the file with the invalid text, where the last good version replaced one."""


class Edit(msgspec.Struct, frozen=True):
    """A change of the file by another process: author and effect in words, whether it removed a
    latch, and whether it was made with the console, a command or a guard, which have confirmed and
    recorded it."""

    words: str
    gives_back: bool
    ours: bool


class Switch:
    """Plans changes of one rollout file, makes them, and records their history.

    A plan is based on the file as it was last read. ``apply`` is compare-and-swap: where another
    writer changed the file in between, a raise is refused as a Conflict, and a rollback is rebased
    on the version that they wrote, which it never overwrites.
    """

    def __init__(
        self,
        path: Path,
        history: History,
        who: Actor,
        *,
        access: WriteAccess | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        shared: Shared | None = None,
        store: RolloutStore | None = None,
    ) -> None:
        self.store = store or RolloutStore(path)
        self.shared = shared
        """What is shared of a file in etcd, of which ``path`` is the working copy, and ``store``
        the store of that; None for a file."""
        self.history = history
        self.who = who
        self._clock = clock
        self.planner = Planner(self.store, history, who, clock)
        self.access = access or WriteAccess()
        self.edit = Edit("", gives_back=False, ours=False)
        """The last change of the file by another process."""
        self._known: Snapshot | None = None
        self._stamp: tuple[int, ...] | None = None
        self.made_as = ""
        """The file's revision once the change is made that is being made, or was made last."""
        self.recovered = ""
        """The notice of the recovery from a killed writer; mostly empty."""

    @property
    def path(self) -> Path:
        """The rollout file's path, as it was given; of one in etcd that of its working copy."""
        return self.store.path

    @property
    def name(self) -> str:
        """How the file is called in a sentence."""
        return self.store.name

    @property
    def location(self) -> str:
        """What ``--file`` takes for it, wherever it is run."""
        return self.address or str(self.path.absolute())

    @property
    def title(self) -> str:
        """The file's path as it was given, or its address."""
        return self.address or str(self.path)

    @property
    def address(self) -> str:
        """The address of a file that several hosts share; empty for one on this host."""
        return "" if self.shared is None else self.shared.location

    @property
    def spread(self) -> Spread | None:
        """Who has applied the version of now, of a file that several hosts share; else None."""
        return None if self.shared is None else self.shared.spread

    def publisher(self, part: str) -> Publisher | None:
        """Return what replaces a file beside a shared rollout file; None for one on this host."""
        if self.shared is None:
            return None
        shared = self.shared
        return Publisher(
            f"{self.name}/{part}", partial(shared.part, part), partial(shared.publish, part)
        )

    def open(self) -> Snapshot:
        """Recover from a killed writer, and read the file; raises StoreError."""
        if not self.access.read_only:
            with suppress(OSError, StoreError):
                self.recovered = recovered(self.path)
        snapshot = self._known = self.store.open()
        if not self.access.read_only:
            # An error of the history is reported when a change is made.
            with suppress(HistoryError):
                self.history.take_over(self.path)
            with suppress(HistoryError):
                self.history.reconcile(self.path)
            if self.history.is_there:
                self._see(snapshot)
        return snapshot

    def open_or_last_good(self) -> Snapshot:
        """Open the file, or where it cannot be used, adopt the newest good text of the history.

        It serves rollback and restore, which must work then too. Raises StoreError where the
        history has none.
        """
        try:
            return self.open()
        except RolloutError:
            revisions: list[str] = []
            with suppress(HistoryError):
                revisions = self.history.revisions(self.path, _REVISIONS_TRIED)
            for revision in revisions:
                with suppress(HistoryError, RolloutError):
                    return self.store.adopt(self.history.text_of(self.path, revision))
            raise

    def refresh(self, *, settled: bool = False) -> tuple[Snapshot, bool] | None:
        """Poll the file for a change; with ``settled``, skip a half-written one.

        Return None where there is none, else the new snapshot and whether another process made it.
        Raises StoreError while the file cannot be used; the last good snapshot stays.
        """
        return self._took(self.store.refresh(settled=settled))

    def _took(self, snapshot: Snapshot | None) -> tuple[Snapshot, bool] | None:
        """Record a version that was read; return it, and whether another process wrote it."""
        if snapshot is None:
            return None
        before, self._known = self._known, snapshot
        if before is not None and before.revision == snapshot.revision:
            return snapshot, False
        edited = None
        if before is not None and not self.access.read_only:
            if not self.history.is_there:
                self._see(before)
            edited = self._see(snapshot)
        self.edit = self._said(before, snapshot, edited)
        return snapshot, True

    def _see(self, snapshot: Snapshot) -> Edited | None:
        """Record an external edit in the history; errors are ignored, as the edit is in force."""
        try:
            # ctime, not mtime: rsync and cp -p keep an old mtime, and the text is in force now.
            at = datetime.fromtimestamp(self.path.stat().st_ctime, UTC)
        except OSError:
            at = self._clock()
        with suppress(HistoryError):
            return self.history.see(
                self.path, self.who, min(at, self._clock()), (snapshot.revision, snapshot.data),
                described,
            )  # fmt: skip
        return None

    def _said(self, before: Snapshot | None, after: Snapshot, edited: Edited | None) -> Edit:
        latch_gone = before is not None and gives_back(before.file, after.file)
        if edited is None:
            rows, _ = self.recent(1, notes=False)
            newest = next(iter(rows), None)
            if newest is not None and newest.revision == after.revision:
                group = [newest]
                with suppress(HistoryError):
                    group = self.history.group_of(newest)
                return Edit(words_of(*group), latch_gone, ours=newest.action != "external")
            edited = described(before.data, after.data) if before is not None else None
        who = edited.who.name if edited is not None and edited.who is not None else UNKNOWN_AUTHOR
        words = edited.words if edited is not None else ""
        return Edit(f"{who}: {words or after.revision[:SHORT]}", latch_gone, ours=False)

    def recent(self, limit: int | None, *, notes: bool = True) -> tuple[list[Change], str]:
        """Return the newest changes, or none and the reason why they cannot be read.

        At most ``limit`` rows, all that are kept for None. Without ``notes`` events are left out
        that are no change of the file.
        """
        try:
            return self.history.rows(self.path, limit, notes=notes), ""
        except HistoryError as error:
            return [], str(error)

    def history_changed(self) -> bool:
        """Return whether the history may have other rows than at the last call.

        A change that was reverted between two polls of the file leaves a trace in its rows alone.
        """
        before, self._stamp = self._stamp, self.history.stamp()
        return self._stamp is None or self._stamp != before

    def recorded(self, known_to: int = 0) -> Recorded:
        """Return all changes that the history has; or those after an id, and some before it.

        Of a history whose newest id is an older one, which was replaced, all are returned.
        """
        try:
            # First: a change that is made meanwhile may have its rows, and not its revision.
            revision, since = self.history.known(self.path)
            rows = self.history.rows(self.path, None, after=max(known_to - _ROWS_AGAIN, 0))
            if known_to and (not rows or rows[0].id < known_to):
                rows = self.history.rows(self.path, None)
        except HistoryError:
            return Recorded()
        newest = rows[0].id if rows else 0
        return Recorded(rows, revision, inf if since is None else since.timestamp(), newest)

    def note_undelivered(self, said: str, reason: str) -> None:
        """Record in the history a notification that could not be delivered.

        May be called from any thread.
        """
        self.note("undelivered", None, None, "", said, reason)

    def note_acknowledged(self, route: str | None, org: str | None, said: str) -> None:
        """Record in the history that an alert was acknowledged; may be called from any thread."""
        self.note("acknowledge", route, org, "", said, "")

    def note(
        self, action: str, route: str | None, org: str | None, before: str, after: str, reason: str
    ) -> None:
        """Record in the history an event that is no change of the file; errors are ignored."""
        snapshot = self.store.snapshot
        if snapshot is None or self.access.read_only:
            return
        note = NewChange(
            file=self.path,
            at=self._clock(),
            who=self.who,
            action=action,
            route=route,
            org=org,
            before=before,
            after=redacted(after),
            reason=redacted(reason),
            verdict="",
            previous_revision=snapshot.revision,
            revision=snapshot.revision,
            before_text=snapshot.data,
            after_text=snapshot.data,
        )
        with suppress(HistoryError):
            self.history.record(note)

    def require_kept(self, plan: Plan) -> None:
        """Raise NothingToDo for a change of a mirrored file that its mirror would put back."""
        if is_put_back(plan, self.path) and (origin := mirrored_from(self.path)):
            raise NothingToDo(
                f"{self.name} mirrors etcd, which puts this back at once: change it with -f"
                f" {origin}; a rollback stays on this server alone (where it is no mirror any more,"
                f" remove {record_path(self.path).name})"
            )

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

        ``held`` is the objection to it, empty where there is none: the guard's to a raise, or the
        exit criteria that a phase does not meet. ``override`` ignores it and needs a reason. A
        change that lowers traffic is never held. After an error nothing is half-done.
        """
        self.access.require()
        self.require_kept(plan)
        if plan.changes_nothing:
            raise NothingToDo(f"nothing to do: {plan.effect}: the file already says so")
        lowers = plan.eases
        if held and not lowers and not (override and reason.strip()):
            raises = plan.direction == "up"
            unready = f"{plan.route} is not ready for {plan.after}"
            by = "the guard holds this raise" if raises else unready
            raise Held(f"{by}: {held}; override it with a reason")
        for left in range(_TRIES - 1, -1, -1):
            try:
                return self._make(plan, reason, verdict or held, lowers)
            except DiskFull as error:
                if (fitted := self._fitted(plan)) is None:
                    raise _with_remedy(error, plan, self.store) from None
                try:
                    return self._make(fitted, reason, verdict or held, lowers, in_place=True)
                except NotWritable:  # the full disk is the cause to name
                    raise error from None
            except Conflict:
                if not (left and plan.latches):
                    raise
                plan = self._again(plan)
        raise AssertionError("unreachable")

    def _again(self, plan: Plan) -> Plan:
        """Rebase a rollback on the version of the file that another writer just saved.

        Only a rollback means the same on any version: a share that was to be lowered may be lower
        by now. A file that they left invalid is not replaced without a confirmation.
        """
        self._took(self.store.refresh_settled())
        again = self.planner.rebase_rollback(plan)
        if again.changes_nothing:
            raise NothingToDo(f"already done by another process: {plan.effect}")
        return again

    def _stamped(self, plan: Plan, at: datetime) -> Plan:
        """Return a plan whose latches are stamped with the time at which it is made.

        It was planned when it was asked for, and a confirm may have been open since.
        """
        edits = [stamped_at(edit, at) for edit in plan.edits]
        if edits == list(plan.edits):
            return plan
        stamped = plan.rebased(self.store.prepare_again(plan.prepared, edits), edits)
        return replace(stamped, regrets=plan.regrets)

    def _fitted(self, plan: Plan) -> Plan | None:
        """Plan a rollback for a full disk: in place, without a byte more; None for other plans."""
        if not plan.latches or plan.rescues or len(plan.edits) != 1:
            return None
        prepared = self.store.prepare_fitting(plan.edits[0])
        return None if prepared is None else plan.rebased(prepared)

    def _make(
        self, plan: Plan, reason: str, verdict: str, lowers: bool, *, in_place: bool = False
    ) -> Done:
        at = self._clock()
        plan = plan if in_place else self._stamped(plan, at)
        self.made_as = plan.prepared.after.revision
        warnings: list[str] = []
        rows: list[int] = []
        kept_as = self._set_aside(plan, at, warnings)
        on_good = ""
        if plan.rescues:
            broken = f"the broken text is kept as {kept_as}" if kept_as else "the file was unusable"
            on_good = f"on the last good version: {broken}"
        if self._known is not None and not plan.rescues:
            self._see(self._known)  # a row's previous revision is that of the row before

        def write_ahead() -> None:
            try:
                changes = self._new_changes(plan, at, (reason, on_good), verdict)
                rows.append(self.history.begin(*changes))
            except HistoryError as error:
                if not lowers:
                    why = f"not changed, because it cannot be recorded: {error}"
                    raise NotRecorded(why) from None
                warnings.append(f"done, but not in the history: {error}")

        try:
            snapshot = self.store.write(plan.prepared, write_ahead, in_place=in_place)
        except Written as told:
            snapshot = plan.prepared.after
            warnings.append(str(told))
        except BaseException:
            self._settle(rows, self.history.abandon, [])
            raise
        self._known = snapshot
        self._settle(rows, self.history.commit, warnings)
        return Done(plan, snapshot, at, tuple(warnings), kept_as)

    def _set_aside(self, plan: Plan, at: datetime, warnings: list[str]) -> str:
        """Save the invalid text, which may be an hour's work, to a file; the history has it too."""
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

    def _settle(self, rows: list[int], how: Callable[[int], None], warnings: list[str]) -> None:
        """Commit or abandon the intent rows; where that fails, the next start settles them."""
        try:
            for row in rows:
                how(row)
        except HistoryError as error:
            warnings.append(f"done; its history row will be settled at the next start: {error}")

    def _new_changes(
        self, plan: Plan, at: datetime, reasons: tuple[str, str], verdict: str
    ) -> Sequence[NewChange]:
        """Return the row of a change, or one for each target of several, with its own moves.

        ``reasons`` are two parts of one sentence; a target's own reason replaces the first.
        """
        change = self._new_change(plan, at, _joined(*reasons), verdict)
        if not plan.parts:
            return (change,)
        file = plan.prepared.before.file
        return [
            replace(
                change,
                action=part.action or change.action,
                route=part.route,
                org=_recorded_org(part.action or change.action, part.table, part.org),
                before=part.before,
                after=part.after,
                reason=redacted(_joined(part.reason or reasons[0], reasons[1])),
                moves=to_json(moves, file),
            )
            for part, moves in zip(plan.parts, plan.moves_of_parts(), strict=True)
        ]

    def _new_change(self, plan: Plan, at: datetime, reason: str, verdict: str) -> NewChange:
        return NewChange(
            file=self.path,
            at=at,
            who=self.who,
            action=plan.action,
            route=plan.route,
            org=_recorded_org(plan.action, plan.table, plan.org),
            before=plan.before,
            after=plan.after,
            reason=redacted(reason),
            verdict=verdict,
            previous_revision=plan.prepared.before.revision,
            revision=plan.prepared.after.revision,
            before_text=plan.prepared.before.data,
            after_text=plan.prepared.after.data,
            undoes_id=plan.undoes_id,
            moves=to_json(plan.moves, plan.prepared.before.file),
        )


def _recorded_org(action: str, table: Table, org: str | None) -> str | None:
    """Return the org of a history row: of an undo a share's whole name, as its action tells not
    whether it is of an alias or a flag."""
    return named_share(table, org) if table and org is not None and action == "undo" else org


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _with_remedy(error: DiskFull, plan: Plan, store: RolloutStore) -> DiskFull:
    """Name the rollback that needs no disk space, where the one that was asked for does."""
    wider = SetRolledBack(True, None, None, "")
    if not plan.latches or plan.rescues or store.prepare_fitting(wider) is None:
        return error
    return DiskFull(f"{error}; a rollback of everything needs no space")
