"""Render the rows of the home table as styled cells, for widths of 60 to 200 columns."""

from collections.abc import Sequence

from rich.cells import cell_len

from rollout_console.changes.plan import ALL_ORGS
from rollout_console.charts.bar import bar
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.monitor import Health
from rollout_console.ui.screens.home.rows import Row
from rollout_console.ui.text import fit, right
from rollout_gate.file.model import Route
from rollout_gate.file.percent import percent_text

Pieces = list[tuple[str, str]]

_NONE = "–"
_LATCHED = " ↩ rolled back"
_NUMBERS = ("req/s", "4xx", "5xx", "p95")


class RowCells:
    """Renders the header and rows for one width in cells; ``longest`` is the widest org's."""

    def __init__(self, width: int, longest: int = 14) -> None:
        self.width = width
        self.bar = 10 if width >= 70 else 0
        self.numbers = (
            (8, 7, 7, 7) if width >= 90 else (6, 6, 7, 6) if width >= 70 else (6, 6, 6, 6)
        )
        fixed = 2 + 6 + (2 + self.bar if self.bar else 0) + sum(self.numbers) + 2
        rest = max(width - fixed, 12)
        self.org = max(8, min(longest, 28, rest // 2))
        self.verdict = max(width - fixed - self.org, 0)

    def header(self) -> Sequence[tuple[str, str]]:
        """Return the header row as one piece."""
        line = "  " + fit("org", self.org) + right("%", 6)
        line += " " * (2 + self.bar) if self.bar else ""
        line += "".join(right(n, w) for n, w in zip(_NUMBERS, self.numbers, strict=True))
        return ((fit(line + "  verdict", self.width), "table--head"),)

    def route(self, row: Row, route: Route | None, probe: str) -> Sequence[tuple[str, str]]:
        """Return a route's own line; ``probe`` is the last probe's result in words."""
        if route is None:
            return ((fit(f" {visible(row.route)}", self.width), "table--route"),)
        probed = (probe,) if probe else ()
        about = (route.name, route.format, route.model or "no model", route.phase, *probed)
        title = "─ " + " ── ".join(visible(text) for text in about) + " "
        if not row.latched_by:
            return ((fit(title + "─" * self.width, self.width).replace("…", "─"), "table--route"),)
        latch = f"─ ↩ {'everything' if row.latched_by == 'file' else 'route'} rolled back "
        title = fit(title, max(self.width - len(latch), 8)).rstrip()
        rest = max(self.width - len(title) - len(latch), 0)
        return ((title + " ", "table--route"), (latch + "─" * rest, "table--warn"))

    def org_row(self, row: Row, health: Health, proof: str) -> Sequence[tuple[str, str]]:
        """Return an org's line; ``proof`` replaces the verdict while it drains."""
        cells = self._share(row)
        if row.org == ALL_ORGS:
            about = "the route's default; its orgs are below" if health.requests else "default"
            return self._with_words(cells, about)
        cells += self._numbers(row, health)
        style = {"ok": "table--good", "hold": "table--warn", "rollback": "table--bad"}
        text, name = proof, "table--dim"
        if not proof:
            text, name = self._verdict_words(health.verdict), style.get(health.verdict.kind, "")
            if (row.points == 0 or row.latched_by) and not health.requests:
                text, name = "previous only", "table--dim"
        cells.append((fit("  " + self._shortened(text), self.verdict + 2), name))
        return cells

    def _verdict_words(self, verdict: Verdict) -> str:
        """Return a verdict with its advice, or in its brief form where the column is narrow."""
        narrow = cell_len(visible(verdict.words)) > self.verdict
        return f"{verdict.kind}: {verdict.brief}" if verdict.brief and narrow else verdict.advised

    def _shortened(self, text: str) -> str:
        text = visible(text)
        for mark in ("; ", ", ", " · "):
            if cell_len(text) > self.verdict:
                text = text.partition(mark)[0]  # the first clause matters most
        return text

    def share_row(self, row: Row) -> Sequence[tuple[str, str]]:
        """Return the line of an API key's alias or of a flag."""
        wins = "wins over org and flag" if row.table == "keys" else "wins over the org"
        return self._with_words(self._share(row), wins)

    def _with_words(self, cells: Pieces, words: str) -> Pieces:
        left = self.width - sum(cell_len(text) for text, _ in cells) - 1
        return [*cells, (fit(f"  {words}", left), "table--dim")]

    def _share(self, row: Row) -> Pieces:
        # A table too narrow for the bar shows the latch as a sign next to the percent.
        sign = "↩" if row.latched_by and not self.bar else ""
        cells = [
            (" " + fit(visible(row.label), self.org), "" if row.listed else "table--dim"),
            (right(sign + percent_text(row.points), 6), "table--dim" if row.latched_by else ""),
        ]
        if self.bar:
            cells.append(
                (_LATCHED, "table--warn")
                if row.latched_by
                else ("  " + bar(row.points, self.bar), "table--bar")
            )
        return cells

    def _numbers(self, row: Row, health: Health) -> list[tuple[str, str]]:
        rate, four, five, slow = self.numbers
        if row.latched_by and self.bar:
            rate -= len(_LATCHED) - 2 - self.bar  # the words are longer than the bar
        rate_text = right(f"{health.rate:.1f}", rate)
        if not health.requests:
            empty = "".join(right(_NONE, width) for width in (four, five, slow))
            return [(rate_text + empty, "table--dim")]
        return [
            (rate_text, ""),
            (right(_percent(health.percent_4xx), four), _alarm(health.over_4xx)),
            (right(_percent(health.percent_5xx), five), _alarm(health.over_5xx)),
            (right(f"{health.p95_ms:.0f}", slow), _alarm(health.over_p95)),
        ]


def _percent(value: float) -> str:
    """Format a percent in at most five characters, so that a column keeps a gap before it."""
    return f"{value:.1f}%" if value < 99.95 else "100%"


def _alarm(over: bool) -> str:
    return "table--bad" if over else ""
