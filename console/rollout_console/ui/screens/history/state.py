"""State of the history screen: the rows read so far, and the filter; Textual is not needed."""

from collections.abc import Iterable, Sequence

from rollout_console.changes.change_details import what_of
from rollout_console.history.rows import Change

PAGE = 1_000
"""Rows read at once: the first page is on the screen before a long history is read."""
LOOK_BACK = 100
"""Rows read again at each refresh: write-ahead rows complete slightly out of order."""


class HistoryView:
    """Holds the changes, newest first, and those of them that pass the filter."""

    def __init__(self) -> None:
        self.text = ""
        self.complete = False
        self.read_to: int | None = None
        """The id from which on all newer rows are read; None before the first page."""
        self._by_id: dict[int, Change] = {}
        self._sorted: list[Change] = []
        self._texts: dict[int, str] = {}

    @property
    def rows(self) -> list[Change]:
        """All rows read, newest first."""
        return self._sorted

    @property
    def read_from(self) -> int:
        """The id after which rows are read at a refresh; 0 for all."""
        return max(self._sorted[0].id - LOOK_BACK, 1) if self._sorted else 0

    def clear(self) -> None:
        """Forget the rows, and keep the filter."""
        self.complete = False
        self.read_to = None
        self._by_id.clear()
        self._texts.clear()
        self._sorted = []

    def is_replaced(self, rows: Sequence[Change]) -> bool:
        """Return whether rows read after ``read_from`` are of another history than those before.

        A history only grows: without the newest row that was read it was deleted or put back from
        a backup, and its ids may begin anew.
        """
        if not self._sorted or len(rows) == PAGE:
            return False
        newest = self._sorted[0]
        return all((row.id, row.at) != (newest.id, newest.at) for row in rows)

    def add_newest(self, rows: Sequence[Change]) -> bool:
        """Add the newest page, of rows after ``read_from``; return whether one is new or other.

        Where it is full, rows may be missing behind it: the older ones are to be read anew.
        """
        if self.read_to is None or len(rows) == PAGE:
            self.complete = len(rows) < PAGE
            self.read_to = rows[-1].id if rows else None
        return self.add(rows)

    def add_older(self, rows: Sequence[Change]) -> bool:
        """Add the page of rows before ``read_to``; return whether one is new or other."""
        self.complete = len(rows) < PAGE
        if rows:
            self.read_to = rows[-1].id
        return self.add(rows)

    def add(self, rows: Iterable[Change]) -> bool:
        """Add rows of any order; return whether one is new or has changed."""
        before = len(self._by_id)
        changed = False
        for row in rows:
            if self._by_id.get(row.id) != row:
                self._by_id[row.id] = row
                self._texts.pop(row.id, None)
                changed = True
        if changed:
            self._sorted = sorted(self._by_id.values(), key=lambda row: row.id, reverse=True)
        return changed or len(self._by_id) != before

    def found(self) -> list[Change]:
        """Return the rows that have every word of the filter; a leading ``!`` inverts that."""
        wanted = self.text.strip().casefold()
        inverted = wanted.startswith("!")
        words = wanted.removeprefix("!").split()
        if not words:
            return list(self._sorted)
        return [
            row for row in self._sorted if all(one in self._text(row) for one in words) != inverted
        ]

    def _text(self, row: Change) -> str:
        """Return what the filter looks into, case-folded: who, what, where, why, revision."""
        text = self._texts.get(row.id)
        if text is None:
            parts = (
                row.author, row.ssh_origin, what_of(row), row.action, row.route, row.org,
                row.reason, row.verdict, row.revision,
            )  # fmt: skip
            text = self._texts[row.id] = "\n".join(part for part in parts if part).casefold()
        return text
