"""Paint the rows of the home table: look up each row's figures, and render them as cells."""

from collections.abc import Sequence

from rich.cells import cell_len

from rollout_console.changes.plan import ALL_ORGS
from rollout_console.common.durations import seconds_text
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.screens.home.cells import ERRORS_WINDOW_S, RowCells
from rollout_console.ui.screens.home.notices import Notices
from rollout_console.ui.screens.home.rows import Row
from rollout_console.ui.screens.home.view import TableView
from rollout_console.ui.widgets.line_table import Cells
from rollout_gate.file.model import RolloutFile

Errors = Sequence[float | None]

SPARKS_EVERY_S = 5.0
_MOST_SPARKS = 1000
_LEAST_LABEL = 12


def _label_cells(row: Row) -> int:
    """Return the cells of a row's name; a route's begins one before an org's, and has a count."""
    if row.is_route:
        return cell_len(visible(row.route)) - 1 + (len(f" ({row.lines})") if row.folded else 0)
    return cell_len(visible(row.label))


class RowPainter:
    """Paints rows as of ``now`` (epoch seconds), which its owner advances once a second.

    All rows of a frame have one time: the guard's verdicts are memoized by it.
    """

    def __init__(self, monitor: Monitor, view: TableView, notices: Notices, now: float) -> None:
        self.now = now
        self._monitor = monitor
        self._view = view
        self._notices = notices
        self._longest = _LEAST_LABEL
        self._cells = RowCells(80)
        self._latched: tuple[RolloutFile | None, dict[str, int]] = None, {}
        self._errors: dict[tuple[str, str | None], tuple[tuple[int, bool], Errors]] = {}

    def fit_labels(self, rows: Sequence[Row]) -> None:
        """Make the first column as wide as the longest label of rows needs."""
        longest = max((_label_cells(row) for row in rows), default=0)
        self._longest = max(longest, _LEAST_LABEL)

    def header(self, width: int) -> Cells:
        """Return the header's cells for a table of a width in cells."""
        return self._cells_for(width - 1).header(self._view.order, self._window_words())

    def row(self, row: Row, width: int) -> Cells:
        """Return a row's cells for a width in cells."""
        cells = self._cells_for(width)
        marked = row.key in self._view.marked
        if row.table:
            return cells.share_row(row, marked)
        org = None if row.org == ALL_ORGS else row.org
        health = self._monitor.health(row.route, org, self.now)
        errors = self._errors_of(row.route, org, cells.points)
        proof = self._proof(row, org) if row.latched_by else ""
        if row.is_route:
            return cells.route(
                row, health, errors, proof, self._view.sick_on(row.route), marked,
                latched=self._latched_in(row.route) if row.folded else 0,
            )  # fmt: skip
        of_route = org is not None and health.verdict is self._verdict_of(row.route)
        return cells.org_row(row, health, errors, proof, marked, of_route=of_route)

    def _latched_in(self, route: str) -> int:
        """Return how many orgs of a route are rolled back by themselves, counted once a file."""
        file = self._monitor.file
        if self._latched[0] is not file:
            self._latched = file, {}
        known = self._latched[1]
        if route not in known:
            known[route] = sum(org.rolled_back for org in file.routes[route].orgs.values())
        return known[route]

    def _verdict_of(self, route: str) -> Verdict:
        return self._monitor.health(route, None, self.now).verdict

    def _window_words(self) -> str:
        """Return over which time the rates and percentiles of the rows are, a range if several."""
        found = sorted({self._monitor.window_s(route) for route in self._monitor.file.routes})
        if not found:
            return ""
        shortest, longest = seconds_text(found[0]), seconds_text(found[-1])
        return shortest if shortest == longest else f"{shortest} to {longest}"

    def _cells_for(self, width: int) -> RowCells:
        if (self._cells.width, self._cells.longest) != (width, self._longest):
            self._cells = RowCells(width, self._longest)
        return self._cells

    def _proof(self, row: Row, org: str | None) -> str:
        proof = self._notices.proof_of(row.route, row.org, self._monitor, self.now)
        last = self._monitor.last_seen(row.route, org, "tokenlab")
        if not proof and last is not None:  # its figures predate the rollback
            proof = f"quiet for {seconds_text(round(self.now - last))}"
        return proof

    def _errors_of(self, route: str, org: str | None, points: int) -> Errors:
        """Return the errors of the last minutes, computed anew every few seconds alone."""
        if not points:
            return ()
        # What was drawn while the log was still being read is not kept.
        turn = int(self.now // SPARKS_EVERY_S), self._monitor.reads_older
        known = self._errors.get((route, org))
        if known is not None and known[0] == turn and len(known[1]) == points:
            return known[1]
        if len(self._errors) > _MOST_SPARKS:
            self._errors.clear()
        found = self._monitor.org_series(
            "errors", route, org, "tokenlab", self.now, ERRORS_WINDOW_S, points
        )
        if any(one is not None for one in found):
            self._errors[route, org] = turn, found
        return found
