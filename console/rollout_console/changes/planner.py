"""Plan changes: the text to be written, its effect on traffic, and a description in one line."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec.structs import replace

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
    alike,
    latched_inside,
    left_out_by_reason,
    left_out_suffix,
    left_out_words,
    not_latched,
    spoken_target,
)
from rollout_console.changes.errors import NotReadable
from rollout_console.changes.external_edits import described
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.mirrored import mirrored_from
from rollout_console.changes.plan import ALL_ORGS, Part, Plan, Share, Target
from rollout_console.changes.rollback_group import (
    can_have_traffic,
    is_down,
    outer_latch,
    rollback_words,
    to_latch,
    to_zero,
)
from rollout_console.changes.share_group import (
    MOST_NAMED,
    Step,
    To,
    group_words,
    share_group,
    share_words,
    unchanged,
)
from rollout_console.changes.traffic_diff import DEFAULT_SHARE
from rollout_console.changes.undo_planner import UndoPlanner
from rollout_console.common.durations import NO_ORG
from rollout_console.common.errors import NothingToDo
from rollout_console.common.listing import first_of
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate.file.errors import UnknownOrg, UnknownRoute
from rollout_gate.file.model import Route
from rollout_gate.file.percent import parse_percent, percent_text
from rollout_gate.file.revision import SHORT
from rollout_gate.secret import is_credential, redacted


class Planner:
    """Plans changes of one rollout file against its last good version; writes nothing."""

    def __init__(
        self, store: RolloutStore, history: History, who: Actor, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._history = history
        self._who = who
        self._clock = clock
        self._undo = UndoPlanner(store, history, who, clock)

    def plan_set(self, route: str, org: str, points: int) -> Plan:
        """Plan an org's share (basis points); ``org`` may be ALL_ORGS for the route's default."""
        found = self._route(route)
        edit: Edit
        if org == ALL_ORGS:
            before = found.default_points
            edit = SetDefaultPercent(route, points)
            name = DEFAULT_SHARE
        else:
            if not org and org not in found.orgs:
                raise UnknownOrg(route, org, list(found.orgs))
            if org not in found.orgs:
                _checked_name(org)
            before = found.org_points(org)
            edit = SetPercent(route, org, points)
            name = org or NO_ORG
        effect = (
            f"{route} / {name} {percent_text(before)}% to {percent_text(points)}% in {self._name}"
        )
        if org == ALL_ORGS:
            effect += " (orgs without a line of their own)"
        elif org not in found.orgs:
            effect += f" (a new line{alike(org, list(found.orgs))})"
        if self._store.last_good().file.is_latched(route, org):
            effect += " (stays rolled back until resumed)"
        return self._plan(
            "set", route, org, (percent_text(before), percent_text(points)), effect, edit
        )

    def plan_sets(
        self,
        targets: Sequence[tuple[str, str | None]],
        to: To,
        *,
        new: Collection[Target] = (),
        held: Mapping[Target, str] | None = None,
        shares: Sequence[Share] = (),
        step: Step = unchanged,
    ) -> Plan:
        """Plan the shares of several orgs, in one write, as ``share_group`` chooses them.

        With them go the ``shares`` of aliases and flags, each a ``step`` from what it is.
        Raises NothingToDo where none is left.
        """
        file = self._store.last_good().file
        group = share_group(file, targets, to, new=new, held=held, shares=shares, step=step)
        if not group.parts:
            some = first_of(left_out_by_reason(group.left_out), MOST_NAMED)
            raise NothingToDo(f"nothing to do: {some or 'nothing is named'}")
        for part in group.parts:
            if part.target in new:
                _checked_name(str(part.org))
        suffix = ""
        if group.left_out:
            count = len(group.left_out)
            suffix = f"; left out: {group.left_out[0]}" if count == 1 else f"; {count:,} left out"
        if len(group.parts) == 1:
            plan = self._plan_part(group.parts[0])
        else:
            effect = group_words(group, file, self._name)
            plan = self._plan("set", None, None, ("", ""), effect, *group.edits)
            plan = replace(plan, parts=group.parts)
        return replace(plan, effect=plan.effect + suffix, left_out=group.left_out)

    def _plan_part(self, part: Part) -> Plan:
        """Plan one share as it would be planned by itself."""
        route, name, points = str(part.route), str(part.org), parse_percent(part.after)
        if part.table:
            return self.plan_share(route, part.table, name, points)
        return self.plan_set(route, name, points)

    def plan_share(
        self, route: str, table: Literal["keys", "flags"], name: str, points: int
    ) -> Plan:
        """Plan the share (basis points) of an API key's alias or of a feature flag."""
        found = self._route(route)
        shares = found.keys if table == "keys" else found.flags
        if not name:
            raise NothingToDo("a name is empty; nothing was changed")
        before = shares.get(name)
        if before is None:
            _checked_name(name)
        kind = {"keys": "alias", "flags": "flag"}[table]
        was = "no line" if before is None else f"{percent_text(before)}%"
        effect = f"{route} / {kind} {name} {was} to {percent_text(points)}% in {self._name}"
        if before is None:
            effect += f" (a new line{alike(name, list(shares))})"
        if self._store.last_good().file.is_latched(route):
            effect += " (stays rolled back until resumed)"
        states = ("" if before is None else percent_text(before), percent_text(points))
        edit = SetShare(route, table, name, points)
        plan = self._plan(f"set_{kind}", route, name, states, effect, edit)
        return replace(plan, table=table)

    def plan_rollback(
        self, route: str | None = None, org: str | None = None, reason: str = ""
    ) -> Plan:
        """Plan a latch to the previous side: an org on a route, a route, or everything.

        Where the file is invalid or deleted, the plan is to restore its last good version with the
        latch in it, and to keep the invalid text next to it; ``Plan.rescues`` is then the error.
        """
        # Redacted: the reason is written to the file, which is kept in git; a pasted key must not.
        return self._plan_latch(True, route, org, redacted(reason.strip()))

    def plan_rollbacks(
        self,
        targets: Sequence[tuple[str, str | None]],
        reason: str | Mapping[tuple[str, str | None], str] = "",
        *,
        seen: Collection[Target] = (),
        shares: Sequence[Share] = (),
    ) -> Plan:
        """Plan to latch several orgs and routes to the previous side, in one write.

        With them go ``shares``, of aliases, flags and defaults: these have no latch, and are set to
        0 but for those that are it already, or whose route is in the list.

        A target is left out, and named in the effect, if it is in the list already, is rolled back
        itself, is an org of a route that is in the list, or is in ``seen``, the orgs that the log
        has, and has no share. ``reason`` may be one for each target. Raises NothingToDo where none
        is left. Otherwise as ``plan_rollback``.
        """
        file = self._store.last_good().file
        kept, left_out = to_latch(file, targets, seen)
        zeroed, others = to_zero(file, shares, kept)
        left_out |= others
        if not kept and zeroed:
            plan = self._plan_zeroed(zeroed)
            return replace(plan, effect=plan.effect + left_out_suffix(left_out))
        if not kept:
            raise NothingToDo(f"nothing to do: {left_out_words(left_out) or 'nothing is named'}")
        reasons = {
            one: redacted((reason if isinstance(reason, str) else reason.get(one, "")).strip())
            for one in kept
        }
        if len(kept) == 1 and not zeroed:
            plan = self._plan_latch(True, *kept[0], reasons[kept[0]])
            return replace(plan, effect=plan.effect + left_out_suffix(left_out))
        for route, org in kept:
            self._checked_target(route, org)
        edits: list[Edit] = [
            self._latch_edit(True, route, org, reasons[route, org]) for route, org in kept
        ]
        edits += [edit for _, edit in zeroed]
        own = {} if isinstance(reason, str) else reasons
        parts = tuple(Part(*one, *STATES, own.get(one, "")) for one in kept)
        parts += tuple(part for part, _ in zeroed)
        plan = self._plan(
            "rollback",
            None,
            None,
            STATES,
            rollback_words(file, parts, self._name),
            *edits,
            rescue=True,
        )
        return replace(plan, parts=parts, effect=plan.effect + left_out_suffix(left_out))

    def rebase_rollback(self, plan: Plan) -> Plan:
        """Plan a rollback again on the version of the file that was read last, stamps unchanged.

        Of several targets, those are left out that the other writer has rolled back, or whose route
        they have taken out; all stay in where that leaves none.
        """
        if not plan.parts:
            return plan.rebased(self._store.prepare(plan.edits))
        file = self._store.last_good().file
        pairs = [
            (part, edit)
            for part, edit in zip(plan.parts, plan.edits, strict=True)
            if part.route in file.routes and not is_down(file, part, edit)
        ] or list(zip(plan.parts, plan.edits, strict=True))
        edits = [edit for _, edit in pairs]
        parts = tuple(part for part, _ in pairs)
        effect = (
            plan.effect
            if len(parts) == len(plan.parts)
            else rollback_words(file, parts, self._name)
        )
        return replace(plan.rebased(self._store.prepare(edits), edits), parts=parts, effect=effect)

    def plan_resume(self, route: str | None = None, org: str | None = None) -> Plan:
        """Plan the release of a latch; the percents stay as they are."""
        return self._plan_latch(False, route, org, "")

    def plan_model(self, route: str, model: str) -> Plan:
        """Plan another model for a route, for all its requests to TokenLab from then on."""
        found = self._route(route)
        effect = f"{route}: model {found.model or '(none)'} to {model} in {self._name}"
        most = found.most_points
        if most and not found.rolled_back:
            effect += f"; up to {percent_text(most)}% of it asks for that at once"
        edit = SetText(route, "model", model)
        return self._plan("model", route, None, (found.model, model), effect, edit)

    def plan_phase(self, route: str, phase: str) -> Plan:
        """Plan the move of a route to another phase, which moves no traffic."""
        found = self._route(route)
        effect = f"{route}: phase {found.phase} to {phase} in {self._name}"
        edit = SetText(route, "phase", phase)
        return self._plan("phase", route, None, (found.phase, phase), effect, edit)

    def plan_undo(self) -> Plan:
        """Plan the undo of the newest change by the console that has not been undone.

        Where the file is still the result of that change, the text before it is restored byte for
        byte. Otherwise only the one value is reverted, and all later edits stay. Raises
        NothingToDo.
        """
        return self._undo.plan()

    def plan_restore(self, revision: str) -> Plan:
        """Plan the restore of a complete earlier text, by its revision or a prefix of it."""
        prepared = self._store.prepare_text(self._history.text_of(self._store.path, revision))
        before, after = prepared.before.revision[:SHORT], prepared.after.revision[:SHORT]
        effect = f"the whole of {self._name} back to revision {after} (now {before})"
        words = described(self._store.last_good().data, prepared.after.data).words
        return Plan("restore", None, None, before, f"{after}: {words}", effect, prepared)

    def plan_text(self, data: bytes, source: str) -> Plan:
        """Plan to replace the complete text by one of another store, ``source`` in words."""
        prepared = self._store.prepare_text(data)
        before, after = prepared.before.revision[:SHORT], prepared.after.revision[:SHORT]
        words = described(self._store.last_good().data, data).words
        effect = f"the whole of {self._name} as it is in {source}"
        return Plan("mirror", None, None, before, f"{after}: {words}", effect, prepared)

    @property
    def _here(self) -> str:
        """What an effect says of where it is, for a file that is a mirror."""
        origin = mirrored_from(self._store.path)
        return f"; on this server alone, as it mirrors {origin}" if origin else ""

    @property
    def _name(self) -> str:
        return self._store.name

    def _route(self, name: str) -> Route:
        routes = self._store.last_good().file.routes
        if name not in routes:
            raise UnknownRoute(name, list(routes))
        return routes[name]

    def _plan_zeroed(self, zeroed: Sequence[tuple[Part, Edit]]) -> Plan:
        """Plan a rollback of what has no latch alone, which is a set to 0."""
        parts = tuple(part for part, _ in zeroed)
        if len(parts) == 1:
            return self._plan_part(parts[0])
        edits = [edit for _, edit in zeroed]
        words = first_of([share_words(part) for part in parts], MOST_NAMED)
        effect = f"{len(parts)} lines in {self._name}: {words}"
        return replace(self._plan("set", None, None, ("", ""), effect, *edits), parts=parts)

    def _checked_target(self, route: str, org: str | None) -> Route:
        """Return the route of what is to be latched; raises where that cannot have traffic."""
        if org == ALL_ORGS:
            raise NothingToDo(
                f"{route} / {DEFAULT_SHARE} cannot be rolled back by itself: roll back route "
                f"{route}, or set {ALL_ORGS!r} to 0"
            )
        found = self._route(route)
        if org is not None and org not in found.orgs:
            _checked_name(org)
        if org is not None and not can_have_traffic(found, org):
            raise UnknownOrg(route, org, list(found.orgs))
        return found

    def _latch_edit(
        self, latch: bool, route: str | None, org: str | None, reason: str
    ) -> SetRolledBack:
        stamp = stamp_of(self._clock(), self._who.name)
        return SetRolledBack(
            latch, route, org, stamp + (reason or "by the operator") if latch else ""
        )

    def _plan_latch(self, latch: bool, route: str | None, org: str | None, reason: str) -> Plan:
        file = self._store.last_good().file
        target = spoken_target(route, org)
        if route is None:
            was, share = file.rolled_back, "all traffic"
            named = f"{target}: "
        else:
            found = self._checked_target(route, org)
            was = found.rolled_back if org is None else found.org_rolled_back(org)
            share = "all its traffic" if org is None else f"{percent_text(found.org_points(org))}%"
            named = f"{target}: " if org is None else f"{target} "
        edit = self._latch_edit(latch, route, org, reason)
        if latch:
            effect = f"{named}{share} to 0% in {self._name}: rolled back until resumed"
            if org is not None and org not in found.orgs:
                effect += f" (a new line{alike(org, list(found.orgs))})"
            if route is not None and (held_by := outer_latch(file, route, org)):
                effect += f" (rolled back already, by {held_by})"
        else:
            if not was:
                raise NothingToDo(not_latched(file, route, org))
            at = "the percents of its orgs" if org is None else share
            effect = f"{target} resumed at {at} in {self._name}"
            if route is not None and (held_by := outer_latch(file, route, org)):
                effect += f" (still rolled back by {held_by})"
            if org is None:
                effect += latched_inside(file, route)
        return self._plan(
            "rollback" if latch else "resume",
            route,
            org,
            (STATES[was], STATES[latch]),
            effect,
            edit,
            rescue=latch,
        )

    def _plan(
        self,
        action: str,
        route: str | None,
        org: str | None,
        states: tuple[str, str],
        effect: str,
        *edits: Edit,
        rescue: bool = False,
    ) -> Plan:
        if self._store.trouble and not rescue:
            raise NotReadable(
                f"nothing was changed: {self._store.trouble}; correct it first (a rollback and a"
                " restore work as it is)"
            )
        effect += self._here if action in ("rollback", "resume") else ""
        prepared = self._store.prepare_rescue(edits) if rescue and self._store.trouble else None
        if prepared is None:
            prepared = self._store.prepare(edits)
        else:
            good = (self._store.last_good().revision)[:SHORT]
            effect += f"; {self._name} cannot be used now: its last good version {good} is put back"
        return Plan(action, route, org, *states, effect, prepared, edits)


def _checked_name(org: str) -> None:
    """Reject a name that is not valid Unicode, or is a credential (the file is kept in git)."""
    if any("\ud800" <= sign <= "\udfff" for sign in org):
        raise NothingToDo("that org's name is no text that a file can hold; nothing was written")
    if is_credential(org):
        raise NothingToDo("that is a credential and no org; nothing was written: revoke it")
