"""Render a change as the cells of a row, and as the lines of its details."""

from collections.abc import Iterator
from datetime import UTC

from rollout_console.changes.change_details import Details, way_of, what_of
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.history.rows import Change
from rollout_console.ui.text import fit, fit_middle
from rollout_console.ui.widgets.line_table import Cells
from rollout_gate.file.percent import percent_text
from rollout_gate.file.revision import SHORT
from rollout_gate.secret import redacted

_SIGNS = {
    "rollback": ("↩", "table--bad"), "resume": ("↻", "table--good"), "raise": ("↑", "table--good"),
    "lower": ("↓", "table--warn"), "note": ("!", "table--warn"), "other": ("~", "table--dim"),
}  # fmt: skip
"""The markers of the live screen's time axis; each is a shape as well as a colour."""
_MOST_MOVES = 200
_MOST_DIFF = 400


class HistoryCells:
    """The columns for one width: when, who, what and why, wider ones with revision and verdict."""

    def __init__(self, width: int) -> None:
        self._long = width >= 98
        when = 20 if self._long else 15
        who = 11 if width < 72 else 14 if not self._long else 17
        revision = SHORT + 1 if width >= 110 else 0
        verdict = 26 if width >= 128 else 0
        left = max(width - when - who - revision - verdict - 3, 8)
        what = left * 3 // 5
        self._widths = (when, who, what, left - what, revision, verdict)

    def header(self) -> Cells:
        """Return the names of the columns."""
        names = ("when (UTC)", "who", "what", "why", "revision", "guard said then")
        text = "".join(
            fit(name, width - 1) + " " for name, width in zip(names, self._widths, strict=True)
            if width
        )  # fmt: skip
        return [(f"    {text}", "table--head")]

    def row(self, change: Change, *, in_force: bool) -> Cells:
        """Return a change's cells; ``in_force`` marks the revision that the file has now."""
        when, who, what, why, revision, verdict = self._widths
        sign, style = _SIGNS[way_of(change)]
        author = change.author if self._long else change.user_name
        cells = [
            ("●" if in_force else " ", "table--route"),
            (f"{sign} ", style),
            (fit(at_text(change, long=self._long), when), "table--dim"),
            (fit_middle(visible(author), who - 1) + " ", ""),
        ]
        if change.reason:
            cells.append((fit(shown(what_of(change)), what - 1) + " ", ""))
            cells.append((fit(shown(change.reason), why - 1) + " ", "table--dim"))
        else:  # an edit by hand has no reason, and a long effect
            cells.append((fit(shown(what_of(change)), what + why - 1) + " ", ""))
        if revision:
            cells.append((fit(visible(change.revision[:SHORT]), revision), "table--dim"))
        if verdict:
            cells.append((fit(shown(change.verdict), verdict), "table--dim"))
        return cells


def at_text(change: Change, *, long: bool = True) -> str:
    """Return when a change was made, in UTC, whatever zone the row was written in."""
    utc = change.at.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}" if long else f"{utc:%m-%d %H:%M:%S}"


def shown(text: str) -> str:
    """Return a text from outside as it may be shown: no control character, no credential."""
    return redacted(visible(text))


def detail_lines(change: Change, details: Details | None) -> Iterator[tuple[str, str]]:
    """Yield the lines about a change, each with its style; ``details`` is None while it is read."""
    came = f" from {change.ssh_origin}" if change.ssh_origin else ""
    yield f"{shown(what_of(change))}", "bold"
    yield f"{at_text(change)}Z by {visible(change.author + came)}", "$foreground 70%"
    for name, text in (("why", change.reason), ("guard said", change.verdict)):
        if text:
            yield f"{name}: {shown(text)}", ""
    previous = "" if details is None else details.previous
    if not previous and change.group_id in (None, change.id):
        previous = change.previous_revision  # of another row of a write it is this very revision
    now, before = (visible(one[:SHORT]) for one in (change.revision, previous))
    yield f"revision {now}" + (f", before {before}" if before else ""), "$foreground 70%"
    if details is None:
        return
    if details.trouble:
        yield shown(details.trouble), "$warning"
    yield from _move_lines(details)
    if details.others:
        several = counted(details.others, "other change")
        yield f"one write with {several}, whose lines are among these:", "$foreground 70%"
    for line in details.diff[:_MOST_DIFF]:
        style = {"+": "$success", "-": "$error"}.get(line[:1], "")
        yield shown(line.rstrip("\r\n")), style
    if len(details.diff) > _MOST_DIFF:
        yield f"… and {len(details.diff) - _MOST_DIFF:,} more lines", "$foreground 60%"


def _move_lines(details: Details) -> Iterator[tuple[str, str]]:
    for move in details.moves[:_MOST_MOVES]:
        up = move.after > move.before
        before, after = percent_text(move.before), percent_text(move.after)
        words = f"{'↑' if up else '↓'} {move.route} / {move.who}  {before}% → {after}%"
        yield shown(words), "$success" if up else "$warning"
    if len(details.moves) > _MOST_MOVES:
        yield f"… and {len(details.moves) - _MOST_MOVES:,} more shares", "$foreground 60%"
    if not details.moves and details.words and not details.others:
        yield f"no share moves: {shown(details.words)}", "$foreground 70%"
