"""Render models as rows of the models table, from 80 columns up, and two of them side by side."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from textwrap import wrap

from rollout_console.common.safe_text import visible
from rollout_console.models.queries import contract_lines
from rollout_console.tokenlab.models import ModelInfo, Price
from rollout_console.ui.text import fit, fit_middle, right
from rollout_console.ui.widgets.line_table import Cells

_SOON = timedelta(days=90)
_LIFECYCLE = 12
_STAGE = {"preview": "table--warn", "deprecated": "table--warn", "retired": "table--bad"}
_MARKS = {"new": "+", "gone": "-"}


class ModelCells:
    """Renders header and rows for one width in cells; the id's column gets the remaining cells."""

    def __init__(self, width: int, scene: str) -> None:
        self._scene = scene
        # A narrow table with evidence omits the provider's column: most ids name the provider.
        self._narrow = bool(scene) and width < 100
        self._provider = 0 if self._narrow else 11
        self._middle = 32 if scene else 7
        self._price = 11 if self._narrow else 16 if scene else 24
        rest = 3 + self._provider + _LIFECYCLE + self._middle + 1 + self._price
        self._longest = max(12, width - rest)

    def header(self) -> Cells:
        """Return the names of the columns."""
        middle = " rank  success in 24 h" if self._scene else "  input"
        price = "$" if self._scene else "$ / 1M in, out"
        provider = fit("provider", self._provider)
        return [
            (
                "  " + fit("model", self._longest) + " " + provider + fit("lifecycle", _LIFECYCLE)
                + fit(middle, self._middle) + " " + right(price, self._price),
                "table--head",
            )
        ]  # fmt: skip

    def row(self, model: ModelInfo, change: str, compared: bool) -> Cells:
        """Return a model's cells; colour and text mark one that is deprecated, ending or gone."""
        gone = change == "gone"
        mark = "=" if compared else _MARKS.get(change, "~" if change else " ")
        stage = "gone" if gone else model.stage
        style = "table--bad" if gone else _STAGE.get(model.stage, "")
        if model.sunset_at is not None and not gone:
            soon = model.sunset_at - datetime.now(UTC) < _SOON
            stage = f"to {model.sunset_at:%d %b %y}" if soon else stage
            style = "table--bad" if soon else style
        cells = [
            (mark, "table--warn"),
            (fit_middle(visible(model.id), self._longest) + " ", "table--dim" if gone else ""),
            (fit(visible(model.provider), self._provider), "table--dim"),
            (fit(visible(stage), _LIFECYCLE), style),
        ]
        if self._scene:
            cells.append((fit(self._evidence_words(model), self._middle), ""))
        else:
            cells.append((right(_size(model.max_input), self._middle), ""))
        price = _price(model.price, with_unit=not self._narrow)
        cells.append((" " + right(price, self._price), ""))
        return cells

    def _evidence_words(self, model: ModelInfo) -> str:
        one = model.evidence.get(self._scene)
        if one is None:
            return "       no evidence"
        rank = "" if one.rank is None else str(one.rank)
        return f"{rank:>5}  {one.words}"


def _size(tokens: int | None) -> str:
    if tokens is None:
        return "–"
    return f"{tokens / 1_000_000:g}M" if tokens >= 1_000_000 else f"{tokens / 1000:g}k"


def _price(price: Price, *, with_unit: bool) -> str:
    if price.input_per_1m is not None:
        out = "–" if price.output_per_1m is None else f"{price.output_per_1m:f}"
        return f"{price.input_per_1m:f}, {out}"
    amount = price.per_request if price.per_request is not None else price.least
    if amount is None:
        return "–"
    unit = visible(price.unit.removeprefix("per_").replace("_", " ")) or "request"
    least = "" if price.per_request is not None else "from "
    return f"{least}{amount:f} a {unit}" if with_unit else f"{least}{amount:f}"


def side_by_side(one: ModelInfo, other: ModelInfo, width: int) -> list[str]:
    """Return a diff of two contracts in two columns, ``width`` wide; ``≠`` marks what differs."""
    tables: tuple[Mapping[str, str], ...] = (dict(contract_lines(one)), dict(contract_lines(other)))
    label, column = 13, max(16, (width - 13 - 4) // 2)
    lines = []
    for name in dict.fromkeys((*tables[0], *tables[1])):
        values = [visible(table.get(name, "–")) for table in tables]
        mark = " " if values[0] == values[1] else "≠"
        cells = [wrap(value, column) or [""] for value in values]
        for i in range(max(len(cells[0]), len(cells[1]))):
            left, rest = (cell[i] if i < len(cell) else "" for cell in cells)
            head = f"{mark} {fit(visible(name), label - 2)}" if i == 0 else " " * label
            lines.append(f"{head} {fit(left, column)}  {rest}".rstrip())
    return lines
