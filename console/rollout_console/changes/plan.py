"""A planned change, which is not made yet."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from rollout_console.changes.edits import Edit, SetDefaultPercent, SetRolledBack, SetShare
from rollout_console.changes.snapshot import Prepared
from rollout_console.changes.traffic_diff import (
    DEFAULT_SHARE,
    Direction,
    Move,
    direction,
    is_wide,
    moves,
)
from rollout_console.common.durations import NO_ORG, target_text
from rollout_gate.file.revision import SHORT

ALL_ORGS = "*"
"""In place of an org: the route's default, for orgs without a line of their own."""

Target = tuple[str | None, str | None]
"""A route and an org: an org on a route, a route (no org), or everything (neither)."""


Table = Literal["", "keys", "flags"]
"""What a share is by: an org or the default (empty), an API key's alias, a feature flag."""
KINDS: Mapping[Table, str] = {"": "", "keys": "alias", "flags": "flag"}


class Share(NamedTuple):
    """A share that has no latch: by an alias, by a flag, or a route's default (ALL_ORGS)."""

    route: str
    table: Table
    name: str

    @property
    def label(self) -> str:
        """The name as people read it, in place of an org's."""
        return named_share(self.table, self.name)


def named_share(table: Table, name: str) -> str:
    """Return the name of a share: ``acme``, ``flag beta``, ``(default)``."""
    if table:
        return f"{KINDS[table]} {name}"
    return DEFAULT_SHARE if name == ALL_ORGS else name or NO_ORG


class Part(msgspec.Struct, frozen=True):
    """One of several targets that a plan changes in one write: a history row of its own.

    ``reason`` and ``action`` are the row's, where they are others than those of the whole change.
    Where ``table`` is set, ``org`` is the name of an alias or a flag.
    """

    route: str | None
    org: str | None
    before: str
    after: str
    reason: str = ""
    table: Table = ""
    action: str = ""

    @property
    def target(self) -> Target:
        """What it changes; ``flag beta`` in place of an org is one by a flag."""
        return self.route, named_share(self.table, str(self.org)) if self.table else self.org


class LeftOut(msgspec.Struct, frozen=True):
    """A target that a change of several leaves as it is, and why.

    ``missed`` is whether what was asked for it is not so; False where the file says so already.
    """

    route: str
    org: str | None
    reason: str
    missed: bool = True

    def __str__(self) -> str:
        org = None if self.org is None else named_share("", self.org)
        return f"{target_text(self.route, org)}: {self.reason}"


class Plan(msgspec.Struct, frozen=True, eq=False):
    """A planned change and its effect.

    ``effect`` describes it in one line, for the confirm dialog. ``before`` and ``after`` are the
    values that the history records. ``edits`` is empty where a complete text is restored; such a
    plan is never rebased on another writer's edit. ``regrets`` is whether it undoes the operator's
    own rollback within two minutes, with nothing else changed since: the shares that it raises
    were in force a moment ago. ``parts`` is empty but for a change of several targets, which has no
    ``route`` and no ``org`` of its own: ask for its ``targets``. ``left_out`` is what was asked of
    a set of several and is not part of it. Where ``table`` is set, ``org`` is the name of an alias
    or a flag.
    """

    action: str
    route: str | None
    org: str | None
    before: str
    after: str
    effect: str
    prepared: Prepared
    edits: tuple[Edit, ...] = ()
    undoes_id: int | None = None
    regrets: bool = False
    parts: tuple[Part, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    table: Table = ""
    _moves: list[list[Move]] = msgspec.field(default_factory=list)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What it changes: one target, or each of several; ALL_ORGS in place of an org is one."""
        return tuple(part.target for part in self.parts) or (self._whole.target,)

    @property
    def latched(self) -> tuple[Target, ...]:
        """Of the targets of a rollback those that it latches, and does not set to 0."""
        if not self.parts:
            return self.targets
        pairs = zip(self.parts, self.edits, strict=True)
        return tuple(part.target for part, edit in pairs if isinstance(edit, SetRolledBack))

    @property
    def judged(self) -> list[Target]:
        """The routes and orgs whose verdicts are those of the targets, each once.

        The log does not tell aliases and flags apart: of these it is the route's.
        """
        found = [
            (part.route, None if part.table or part.org == ALL_ORGS else part.org)
            for part in self.parts or (self._whole,)
        ]
        return list(dict.fromkeys(found))

    @property
    def _whole(self) -> Part:
        return Part(self.route, self.org, self.before, self.after, table=self.table)

    @property
    def asked_name(self) -> str:
        """What an operator types to confirm a wide raise: the route, or "all" for several."""
        routes = {route for route, _ in self.targets}
        return (routes.pop() if len(routes) == 1 else None) or "all"

    def rebased(self, prepared: Prepared, edits: Sequence[Edit] | None = None) -> "Plan":
        """Return the same plan on another version of the file."""
        kept = self.edits if edits is None else tuple(edits)
        return replace(self, prepared=prepared, edits=kept, regrets=False, _moves=[])

    @property
    def moves(self) -> list[Move]:
        """Every share that would differ, computed lazily and cached."""
        if not self._moves:
            self._moves.append(moves(self.prepared.before.file, self.prepared.after.file))
        return self._moves[0]

    def moves_of_parts(self) -> list[list[Move]]:
        """Return the shares that each part moves, in one pass: each is of its nearest target."""
        by_target = moves_by_target(self.moves, (part.target for part in self.parts))
        return [by_target[part.target] for part in self.parts]

    @property
    def direction(self) -> Direction:
        """Whether traffic would move up to TokenLab, down from it, or neither."""
        return direction(self.moves)

    @property
    def eases(self) -> bool:
        """Whether the guard never holds it: it lowers TokenLab's traffic, or moves none."""
        return self.direction != "up" and self.action not in ("model", "phase")

    @property
    def latches(self) -> bool:
        """Whether it is only a rollback, which means the same on any version of the file.

        What has no latch, and is rolled back together with what has one, is set to 0.
        """
        several = self.action == "rollback" and bool(self.parts)
        return bool(self.edits) and all(
            edit.rolled_back
            if isinstance(edit, SetRolledBack)
            else several and isinstance(edit, SetShare | SetDefaultPercent) and edit.points == 0
            for edit in self.edits
        )

    @property
    def wide(self) -> bool:
        """Whether it raises more than one org, or one to 100%."""
        return is_wide(self.moves)

    @property
    def rescues(self) -> str:
        """Why the file cannot be used, where its last good version is to replace it, else empty."""
        return self.prepared.rescues

    @property
    def changes_nothing(self) -> bool:
        """Whether the file would stay the same."""
        return self.prepared.before.revision == self.prepared.after.revision

    @property
    def revision(self) -> str:
        """The short revision that the plan is based on."""
        return self.prepared.before.revision[:SHORT]


def moves_by_target(found: Iterable[Move], targets: Iterable[Target]) -> dict[Target, list[Move]]:
    """Group shares that move by the nearest target that reaches each; drop those of none."""
    by_target: dict[Target, list[Move]] = {target: [] for target in targets}
    for move in found:
        route, wider = move.route, ((move.route, None), (None, None))
        of_default = move.subject in ("org", "others")
        nearest: list[Target] = [(route, move.who)] if move.subject != "others" else []
        nearest += [(route, ALL_ORGS)] if of_default else []
        for target in (*nearest, *wider):
            if target in by_target:
                by_target[target].append(move)
                break
    return by_target
