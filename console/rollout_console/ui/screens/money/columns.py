"""Lay rows out as columns in a width: amounts aligned at the decimal point, the rest fitted."""

from collections.abc import Callable, Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Generic, Literal, TypeVar

import msgspec
from rich.cells import cell_len

from rollout_console.cost.bill import WIDE
from rollout_console.cost.text import rate
from rollout_console.ui.text import fit, fit_middle, right
from rollout_console.ui.widgets.line_table import Cells

RowT = TypeVar("RowT")

Align = Literal["left", "middle", "right", "point"]
_GAP = 1
_LEAST_OF_MUCH = Decimal("0.0001")
_LEAST = 4


def dollars(amount: Decimal, *, signed: bool = False) -> str:
    """Return an exact amount with all its digits, and its sign before the dollar."""
    sign = "-" if amount < 0 else "+" if signed else ""
    return f"{sign}${abs(amount):,f}"


def price_text(amount: Decimal | None) -> str:
    """Return a rounded price: with up to 4 decimals from one dollar on, else up to 6."""
    if amount is not None and abs(amount) >= 1:
        amount = amount.quantize(_LEAST_OF_MUCH, ROUND_HALF_EVEN, WIDE)
    return rate(amount)


class Column(msgspec.Struct, Generic[RowT], frozen=True):
    """A column: its title, and of a row the text and the style.

    ``middle`` and ``left`` columns with a ``weight`` share what the others leave, ``least`` cells
    each at least. Where not all fit, the columns with the highest ``spare`` are left out first.
    """

    title: str
    cell: Callable[[RowT], tuple[str, str]]
    align: Align = "left"
    spare: int = 0
    weight: int = 0
    least: int = _LEAST
    most: int = 1_000


class _Placed(msgspec.Struct, Generic[RowT]):
    column: Column[RowT]
    width: int
    decimals: int = 0
    """Cells after the decimal point, the point among them."""


class Layout(Generic[RowT]):
    """The columns for some rows in a width; it is made anew when either changes."""

    def __init__(self, columns: Sequence[Column[RowT]], rows: Sequence[RowT], width: int) -> None:
        placed = [_placed(column, rows) for column in columns]
        while sum(one.width + _GAP for one in placed) > width + _GAP:
            spare = max(placed, key=lambda one: one.column.spare)
            if not spare.column.spare:
                break
            placed.remove(spare)
        left = width + _GAP - sum(one.width + _GAP for one in placed)
        flexible = [one for one in placed if one.column.weight]
        weights = sum(one.column.weight for one in flexible)
        for one in flexible:
            share = left * one.column.weight // max(weights, 1)
            one.width = max(min(one.width + share, one.column.most), 1)
        self._placed = placed
        self._width = width

    def header(self) -> Cells:
        """Return the titles of the columns."""
        parts = []
        for one in self._placed:
            title = one.column.title
            is_right = one.column.align in ("right", "point")
            parts.append(right(title, one.width) if is_right else fit(title, one.width))
        return [(" " + fit(" ".join(parts), self._width), "table--head")]

    def row(self, row: RowT) -> Cells:
        """Return the cells of a row."""
        cells: list[tuple[str, str]] = []
        for one in self._placed:
            text, style = one.column.cell(row)
            cells.append((_fitted(text, one), style))
            cells.append((" ", ""))
        used = sum(one.width + _GAP for one in self._placed) - _GAP
        return [*cells[:-1], (" " * max(self._width - used, 0), "")]


def _placed(column: Column[RowT], rows: Iterable[RowT]) -> _Placed[RowT]:
    """Return a column with the width that its texts need; one that shares has its least."""
    if column.weight:
        return _Placed(column, column.least)
    texts = [column.cell(row)[0] for row in rows]
    decimals = 0
    if column.align == "point":
        decimals = max((len(text) - _point(text) for text in texts), default=0)
        widest = max((_point(text) for text in texts), default=0) + decimals
    else:
        widest = max(map(cell_len, texts), default=0)
    return _Placed(column, min(max(widest, len(column.title)), column.most), decimals)


def _point(text: str) -> int:
    """Return where the decimals of an amount begin; where it ends without any."""
    at = text.find(".")
    return len(text) if at < 0 else at


def _fitted(text: str, placed: _Placed[RowT]) -> str:
    if placed.column.align == "middle":
        return fit_middle(text, placed.width)
    if placed.column.align == "left":
        return fit(text, placed.width)
    if placed.column.align == "point":
        text += " " * (placed.decimals - (len(text) - _point(text)))
    return right(text, placed.width)
