"""A change that has been worked out and not yet made."""

from dataclasses import dataclass

from console.operations.moves import Direction, Move, direction, is_wide, moves
from console.rollout.edits import Edit
from console.rollout.revision import SHORT
from console.store.store import Prepared


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change would do.

    ``effect`` names it in one line, as a confirm shows it. ``before`` and ``after`` are what the
    history keeps as values. ``edits`` is empty where a whole text is put back; such a plan is
    never made again on top of somebody else's edit.
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

    @property
    def moves(self) -> list[Move]:
        """Every share that would differ."""
        return moves(self.prepared.before.file, self.prepared.after.file)

    @property
    def direction(self) -> Direction:
        """Whether traffic would move up to TokenLab, down from it, or neither."""
        return direction(self.moves)

    @property
    def eases(self) -> bool:
        """Whether it may be made in a hurry: it takes traffic away from TokenLab, or moves none."""
        return self.direction != "up" and self.action not in ("model", "phase")

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
