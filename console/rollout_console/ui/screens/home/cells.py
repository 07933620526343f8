"""Render the rows of the home table as styled cells, for widths of 60 to 200 columns."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from rich.cells import cell_len

from rollout_console.changes.plan import ALL_ORGS
from rollout_console.charts.sparkline import sparkline
from rollout_console.common.durations import brief_seconds
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.monitor import Health
from rollout_console.ui.screens.home.row_filter import judged
from rollout_console.ui.screens.home.rows import Order, Row
from rollout_console.ui.text import first_clauses, fit, fit_middle, right
from rollout_gate.file.percent import percent_text

Pieces = list[tuple[str, str]]

ERRORS_TOP = 50.0
"""Share of errors, in percent, that fills a cell of the sparkline."""
ERRORS_WINDOW_S = 300.0

_NONE = "–"
_NUMBERS = ("req/s", "4xx", "5xx", "p95")
_FULL = 60
"""The least width with all numbers: half a number is another number."""
_AS_VERDICT = ("drain", "quiet", "not in force")
"""Proofs that say more than that it is rolled back."""
_WITH_ROUTE = ("ROLL BACK with its route", "with its route", "ROLL BACK")
"""The verdict of an org that is its route's, the longest that there is room for."""
_OVER = (
    ("  verdict", "numbers of"), ("  verdict", "numbers"), ("  verdict", "over"), (" ", "over"),
)  # fmt: skip
"""The header of the verdict column, and what the time of the numbers follows; the longest first."""
_COUNTED = 10
"""The least width of the names with the count of what is folded."""
_FOLDED, _UNFOLDED, _MARKED = "+", "-", "*"


class RowCells:
    """Renders the header and rows for one width in cells; ``longest`` is the widest org's."""

    def __init__(self, width: int, longest: int = 14) -> None:
        self.width = width
        self.longest = longest
        wide = (8, 7, 7, 7) if width >= 90 else (6, 5, 5, 6)
        shown = range(4) if width >= _FULL else (2,)  # the rate of 5xx and the verdict come first
        self.numbers = {index: wide[index] for index in shown}
        self.points = 20 if width >= 100 else 10 if width >= 70 else 0
        spark = self.points + 2 if self.points else 0
        fixed = 2 + 6 + sum(self.numbers.values()) + spark + 2
        rest = max(width - fixed, 12)
        least = min(10, max(width - fixed + 2, 6))  # a very narrow terminal has its numbers whole
        self.org = max(least, min(longest + 2, 28, rest // 2))
        self.verdict = max(width - fixed - self.org, 0)

    def header(self, order: Order, window: str = "") -> Sequence[tuple[str, str]]:
        """Return the header row as one piece; ``window`` is the time that the numbers are of."""
        names = "route / org" if order == "file" else f"↓ {order}"
        line = "  " + fit(names, self.org) + right("%", 6)
        line += "".join(right(_NUMBERS[index], width) for index, width in self.numbers.items())
        if self.points:
            line += "  " + fit("errors 5 m", self.points)
        verdict = "  verdict" if self.verdict else ""
        for column, over in _OVER if window and self.verdict else ():
            left = self.verdict + 2 - len(said := f"{over} {window}")
            if left > len(column):
                verdict = fit(column, left) + said
                break
        return ((fit(line + verdict, self.width), "table--head"),)

    def route(
        self,
        row: Row,
        health: Health,
        errors: Sequence[float | None],
        proof: str,
        sick: int,
        marked: bool,
        *,
        latched: int = 0,
    ) -> Sequence[tuple[str, str]]:
        """Return a route's own line; ``sick`` is how many of its orgs ask for a rollback.

        ``latched`` is how many rolled back ones are folded: they are in place of a percent, and of
        a route whose verdict has room beside it in words.
        """
        fold = _FOLDED if row.folded else _UNFOLDED if row.lines else " "
        hidden = f" ({row.lines})" if row.folded and self.org >= _COUNTED else ""
        name = fit(visible(row.route), self.org - 1 - len(hidden)).rstrip() + hidden
        latch = right("↩" if row.latched_by else f"↩{latched:,}" if latched else "", 6)
        mark, style = (_MARKED, "table--mark") if marked else (" ", "table--route")
        cells = [(f"{mark}{fold}" + fit(name, self.org - 1), style), (latch, "table--dim")]
        cells += self._numbers(row, health, errors)
        text, style = self._judged(row, health, proof)
        if sick and health.verdict.kind != "rollback" and not row.latched_by:
            text, style = f"{sick} {'org' if sick == 1 else 'orgs'} sick", "table--bad"
        elif latched and health.verdict.kind != "rollback" and not row.latched_by:
            whole = f"{text}; ↩{latched:,} rolled back"
            text = whole if cell_len(visible(whole)) <= self.verdict else text
        return [*cells, self._last(text, style)]

    def org_row(
        self,
        row: Row,
        health: Health,
        errors: Sequence[float | None],
        proof: str,
        marked: bool,
        *,
        of_route: bool = False,
    ) -> Sequence[tuple[str, str]]:
        """Return an org's line; ``proof`` replaces the verdict while it drains.

        ``of_route`` is whether the verdict is its route's: the figures in it are not the org's.
        """
        cells = self._share(row, marked)
        if row.org == ALL_ORGS:
            return self._with_words(cells, "orgs without a line of their own")
        cells += self._numbers(row, health, errors)
        text, style = self._judged(row, health, proof)
        if of_route and style == "table--bad":
            text = next((one for one in _WITH_ROUTE if len(one) <= self.verdict), _WITH_ROUTE[-1])
        return [*cells, self._last(text, style)]

    def _last(self, text: str, style: str) -> tuple[str, str]:
        """Return the last column, the verdict, with the gap before it."""
        short = first_clauses(visible(text), self.verdict)
        return fit(f"  {short}", self.verdict + 2), style

    def _judged(self, row: Row, health: Health, proof: str) -> tuple[str, str]:
        """Return the verdict in words and its style: red to act, amber degraded, dim waiting."""
        if row.latched_by:
            said = f"↩ rolled back · {proof}" if proof else "↩ rolled back"
            if proof.startswith(_AS_VERDICT) and cell_len(said) > self.verdict:
                said = f"↩ {proof}"
            return said, "table--dim"
        if proof:
            return proof, "table--dim"
        if judged(row, health).state == "previous only":
            return "previous only", "table--dim"
        verdict = health.verdict
        return self._verdict_words(verdict), style_of(verdict)

    def _verdict_words(self, verdict: Verdict) -> str:
        """Return a verdict with its advice, or in its brief form where the column is narrow."""
        kind = "ROLL BACK" if verdict.kind == "rollback" else verdict.kind
        if verdict.kind == "ok":
            return kind
        narrow = cell_len(visible(verdict.reason)) + len(kind) + 2 > self.verdict
        if verdict.brief and narrow:
            return f"{kind}: {verdict.brief}"
        words = f"{kind}: {verdict.fact}"
        if verdict.kind == "rollback" and first_clauses(visible(words), self.verdict)[-1:] == "…":
            # What is wrong is worth more than how much of it.
            words = f"{kind}: {verdict.fact.split(maxsplit=1)[0].rstrip(':')}"
            return words if cell_len(visible(words)) <= self.verdict else kind
        return words

    def share_row(self, row: Row, marked: bool) -> Sequence[tuple[str, str]]:
        """Return the line of an API key's alias or of a flag."""
        wins = "wins over org and flag" if row.table == "keys" else "wins over the org"
        return self._with_words(self._share(row, marked), wins)

    def _with_words(self, cells: Pieces, words: str) -> Pieces:
        left = self.width - sum(cell_len(text) for text, _ in cells)
        return [*cells, (fit(f"  {words}", left), "table--dim")]

    def _share(self, row: Row, marked: bool) -> Pieces:
        sign = "↩" if row.latched_by else ""
        mark = _MARKED if marked else " "
        return [
            # In the middle: the regions of one customer differ at their ends.
            (
                mark + "  " + fit_middle(visible(row.label), self.org - 2),
                self._name_style(row, marked),
            ),
            (right(sign + percent_text(row.points), 6), "table--dim" if row.latched_by else ""),
        ]

    def _name_style(self, row: Row, marked: bool) -> str:
        return "table--mark" if marked else "" if row.listed else "table--dim"

    def _numbers(
        self, row: Row, health: Health, errors: Sequence[float | None]
    ) -> list[tuple[str, str]]:
        time_text = f"{health.p95_ms:.0f}" if health.has_p95 else _NONE
        if health.is_async:
            time_text = _NONE if health.asset_p95_s is None else brief_seconds(health.asset_p95_s)
        if not health.requests:
            over, limit = "table--dim", 0.0
            time_text = time_text if health.is_async else _NONE
            texts, styles = [f"{health.rate:.1f}", _NONE, _NONE, time_text], [over] * 4
        else:
            # Over its limit is degraded; red is for what asks to act.
            over = "table--bad" if health.verdict.kind == "rollback" else "table--warn"
            limit = health.limit_percent
            texts = [
                f"{health.rate:.1f}", _percent(health.percent_4xx),
                _percent(health.percent_5xx), time_text,
            ]  # fmt: skip
            is_over = (False, health.over_4xx, health.over_5xx, health.over_p95)
            styles = [over if one else "" for one in is_over]
        numbers = [(right(texts[i], width), styles[i]) for i, width in self.numbers.items()]
        return [*numbers, *self._spark(errors, limit, over)]

    def _spark(self, errors: Sequence[float | None], limit: float, over: str) -> Pieces:
        """Return the errors of the last minutes, those above the limit in its colour."""
        if not self.points:
            return []
        styles = [over if (one or 0.0) > limit else "table--dim" for one in errors]
        drawn = zip(sparkline(errors, ERRORS_TOP), styles, strict=True)
        found = [
            ("".join(cell for cell, _ in some), style)
            for style, some in groupby(drawn, key=itemgetter(1))
        ]
        return [("  ", ""), *found]


def style_of(verdict: Verdict) -> str:
    """Return the style of a verdict: red asks to act, amber is degraded, dim waits."""
    if verdict.kind == "rollback":
        return "table--bad"
    if verdict.kind == "hold":
        return "table--dim" if verdict.waits else "table--warn"
    return "table--good"


def _percent(value: float) -> str:
    """Format a percent in at most five characters, so that a column keeps a gap before it."""
    return f"{value:.1f}%" if value < 9.95 else f"{value:.0f}%"
