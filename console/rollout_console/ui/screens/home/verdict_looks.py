"""The verdicts that the filter of the home table asks for, looked up within a time budget."""

from collections.abc import Callable
from time import monotonic

from rollout_console.ui.screens.home.row_filter import UNSEEN, Judged
from rollout_console.ui.screens.home.rows import Row

EVERY_S = 2.0
"""Seconds for which a verdict is kept at least, and between two passes."""
BUDGET_S = 0.1
"""Limit of the time that one pass takes: keys wait meanwhile, and 10,000 orgs take seconds."""
_SHARE = 50
"""A verdict is kept for so many times as long as all of them took to look up."""


class VerdictLooks:
    """Memoizes what the verdict column shows of each row, for a while that grows with the number.

    A pass looks up what is due until its budget is spent: the rest keeps its earlier verdict, or
    has none yet, and has its turn in the next pass.
    """

    def __init__(self) -> None:
        self._known: dict[Row, tuple[float, Judged]] = {}
        self._began_at = self._spent_s = self._all_s = 0.0
        self.unseen = 0
        """How many rows the last pass had no verdict of."""

    def is_due(self, now: float) -> bool:
        """Whether another pass may find other verdicts; ``now`` is in epoch seconds."""
        return bool(self.unseen) or abs(now - self._began_at) >= EVERY_S

    def begin(self, now: float, rows: int) -> None:
        """Begin a pass over so many rows."""
        self._began_at, self._spent_s, self.unseen = now, 0.0, 0
        if len(self._known) > 2 * rows:  # of rows that are no longer there
            self._known.clear()
            self._all_s = 0.0

    def look(self, row: Row, judge: Callable[[Row], Judged]) -> Judged:
        """Return what is shown of a row, as ``judge`` says; UNSEEN until it had its turn."""
        known = self._known.get(row)
        if known is not None and self._began_at - known[0] < max(EVERY_S, _SHARE * self._all_s):
            return known[1]
        if self._spent_s >= BUDGET_S:
            self.unseen += known is None
            return UNSEEN if known is None else known[1]
        started = monotonic()
        found = judge(row)
        took = monotonic() - started
        self._spent_s += took
        self._all_s += took if known is None else 0.0
        self._known[row] = self._began_at, found
        return found
