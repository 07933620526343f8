"""A change that has been worked out and not yet made."""

from dataclasses import dataclass, field

from rollout_console.changes.edits import Edit, SetRolledBack
from rollout_console.changes.snapshot import Prepared
from rollout_console.changes.traffic_diff import Direction, Move, direction, is_wide, moves
from rollout_gate.file.revision import SHORT

ALL_ORGS = "*"
"""In place of an org: the route's default, for orgs without a line of their own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change would do.

    ``effect`` names it in one line, as a confirm shows it. ``before`` and ``after`` are what the
    history keeps as values. ``edits`` is empty where a whole text is put back; such a plan is
    never made again on top of somebody else's edit. ``regrets`` is whether it takes one's own
    rollback back within two minutes, with nothing else changed since: the shares that it raises
    are those that were there a moment ago.
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
    _moves: list[list[Move]] = field(default_factory=list, repr=False, compare=False)

    @property
    def moves(self) -> list[Move]:
        """Every share that would differ; worked out when first asked for, then kept."""
        if not self._moves:
            self._moves.append(moves(self.prepared.before.file, self.prepared.after.file))
        return self._moves[0]

    @property
    def direction(self) -> Direction:
        """Whether traffic would move up to TokenLab, down from it, or neither."""
        return direction(self.moves)

    @property
    def eases(self) -> bool:
        """Whether it may be made in a hurry: it takes traffic away from TokenLab, or moves none."""
        return self.direction != "up" and self.action not in ("model", "phase")

    @property
    def latches(self) -> bool:
        """Whether it is nothing but a rollback, which means the same on any version of the file."""
        return bool(self.edits) and all(
            isinstance(edit, SetRolledBack) and edit.rolled_back for edit in self.edits
        )

    @property
    def wide(self) -> bool:
        """Whether it raises more than one org, or one to 100%."""
        return is_wide(self.moves)

    @property
    def rescues(self) -> str:
        """Why the file cannot be used, where its last good version is to take its place."""
        return self.prepared.rescues

    @property
    def changes_nothing(self) -> bool:
        """Whether the file already says so."""
        return self.prepared.before.revision == self.prepared.after.revision

    @property
    def revision(self) -> str:
        """The short revision that the plan was made on."""
        return self.prepared.before.revision[:SHORT]
