"""A widget of character cells that repaints only the region of each row that has changed."""

from collections.abc import Sequence
from itertools import groupby
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.color import Color, ColorParseError
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from rollout_console.ui.widgets.component import component_style

Cell = tuple[str, str]
"""One character of single-column width, and the name of its style or ""."""


def cells_of(pieces: Sequence[tuple[str, str]]) -> list[Cell]:
    """Split styled text into cells; it must be of single-width characters, so not from outside."""
    return [(char, style) for text, style in pieces for char in text]


def padded(cells: Sequence[Cell], width: int) -> list[Cell]:
    """Return exactly ``width`` cells: truncated, or padded with blanks."""
    return [*cells[:width], *[(" ", "")] * (width - len(cells))]


class CellView(Widget):
    """Shows rows of cells; a row is repainted from its first cell that differs to its last.

    When a chart scrolls by a column, the blanks at its sides are not sent again.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "cell--title", "cell--dim", "cell--bad", "cell--warn", "cell--good", "cell--accent",
        "cell--cursor",
    }  # fmt: skip

    DEFAULT_CSS = """
    CellView { width: 1fr; height: 1fr; background: $background; }
    CellView > .cell--title { text-style: bold; }
    CellView > .cell--dim { color: $foreground 60%; }
    CellView > .cell--bad { color: $error; }
    CellView > .cell--warn { color: $warning; }
    CellView > .cell--good { color: $success; }
    CellView > .cell--accent { color: $secondary; }
    CellView > .cell--cursor { text-style: reverse; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's own name
        super().__init__(id=id)
        self._cells: list[list[Cell]] = []
        self._by_name: dict[str, Style] = {}

    def show(self, rows: list[list[Cell]]) -> None:
        """Replace the rows, and repaint what differs."""
        before, self._cells = self._cells, rows
        if len(before) != len(rows):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, rows, strict=True)):
            if old != new:
                start, end = _difference(old, new)
                self.refresh(Region(start, y, end - start, 1))

    @property
    def lines(self) -> list[str]:
        """The text that is shown, without styles."""
        return ["".join(char for char, _ in row) for row in self._cells]

    def render_line(self, y: int) -> Strip:
        """Return line ``y`` of the widget."""
        base = self.rich_style
        row = self._cells[y] if y < len(self._cells) else []
        segments = [
            Segment("".join(char for char, _ in some), base + self._style(name))
            for name, some in groupby(row, key=lambda cell: cell[1])
        ]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def notify_style_update(self) -> None:
        """Invalidate the style cache: the theme may have changed."""
        self._by_name.clear()
        super().notify_style_update()

    def _style(self, name: str) -> Style:
        if name not in self._by_name:
            self._by_name[name] = self._find_style(name)
        return self._by_name[name]

    def _find_style(self, name: str) -> Style:
        if not name:
            return Style.null()
        if name in ("tokenlab", "previous"):
            # An operator's own theme need not define these variables.
            try:
                color = Color.parse(self.app.theme_variables.get(f"chart-{name}", ""))
            except ColorParseError:
                return Style.null()
            return Style(color=color.rich_color)
        return component_style(self, f"cell--{name}")


def _difference(old: Sequence[Cell], new: Sequence[Cell]) -> tuple[int, int]:
    """Return the first column that differs, and the one after the last."""
    least, most = min(len(old), len(new)), max(len(old), len(new))
    start = next((x for x in range(least) if old[x] != new[x]), least)
    end = most
    while end > start and end <= least and old[end - 1] == new[end - 1]:
        end -= 1
    return start, end
