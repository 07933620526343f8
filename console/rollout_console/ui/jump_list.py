"""The jump list, as in Vim: positions that were left by a jump, to go back to and forward again."""

from typing import NamedTuple

from rollout_console.ui.screens.home.rows import RowKey

_MOST = 100


class Position(NamedTuple):
    """A screen by its context, and on home the row of the cursor."""

    screen: str
    row: RowKey | None = None


class JumpList:
    """Positions, oldest first; a position is kept once, where it was left last."""

    def __init__(self) -> None:
        self._left: list[Position] = []
        self._at = 0

    def leave(self, position: Position) -> None:
        """Keep a position that a jump leaves; the next way back is to it."""
        self._keep(position)
        self._at = len(self._left)

    def go(self, by: int, now: Position) -> Position | None:
        """Return the position before (``by`` is -1) or after (1); None where there is none.

        The first way back keeps the position of ``now``, to come forward to.
        """
        if by < 0 and self._at == len(self._left):
            self._keep(now)
            self._at = len(self._left) - 1
        if not 0 <= self._at + by < len(self._left):
            return None
        self._at += by
        return self._left[self._at]

    def _keep(self, position: Position) -> None:
        self._left = [*(one for one in self._left if one != position), position][-_MOST:]
