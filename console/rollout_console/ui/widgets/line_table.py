"""A virtualized table of many rows with a cursor.

It renders line by line and repaints only the region of a line that has changed: a DataTable
repaints itself completely for every cell, which over SSH is ten times the bytes.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar, Generic, TypeVar

import msgspec
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events, on
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollDown, ScrollTo, ScrollUp
from textual.strip import Strip

from rollout_console.ui.widgets.component import component_style

RowT = TypeVar("RowT")

Cells = Sequence[tuple[str, str]]
"""The pieces of one line: text, and the name of its component style or ""."""


class Line(msgspec.Struct, frozen=True):
    """One rendered line, cached to be compared with its next rendering."""

    cells: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The line without its styles."""
        return "".join(text for text, _ in self.cells)


class LineTable(ScrollView, Generic[RowT], can_focus=True, inherit_bindings=False):
    """Shows rows; ``draw_row(row, width)`` and ``draw_header(width)`` return the cells.

    ``identity(row)`` is the row's stable key, by which the cursor follows it when rows come or go.

    Rows outside the viewport are never rendered, so 10,000 rows cost what 20 do.

    The cursor is always in the viewport: the next key acts on its row. So the keys by which a
    ScrollView scrolls are not bound, as they would leave it behind, and the mouse takes it along.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head", "table--route", "table--good", "table--warn", "table--bad",
        "table--dim", "table--mark", "table--cursor", "table--cursor-plain",
    }  # fmt: skip

    DEFAULT_CSS = """
    LineTable {
        height: 1fr; background: $background; scrollbar-size-vertical: 1; overflow-x: hidden;
    }
    LineTable > .table--head { color: $foreground 60%; }
    LineTable > .table--route { color: $accent; text-style: bold; }
    LineTable > .table--good { color: $success; }
    LineTable > .table--warn { color: $warning; }
    LineTable > .table--bad { color: $error; text-style: bold; }
    LineTable > .table--dim { color: $foreground 60%; }
    LineTable > .table--mark { color: $accent; text-style: bold; }
    LineTable > .table--cursor { background: $primary-muted; text-style: bold; }
    LineTable > .table--cursor-plain { text-style: reverse; }
    """

    class Moved(Message):
        """Posted when the cursor is on another row."""

    def __init__(
        self,
        draw_row: Callable[[RowT, int], Cells],
        draw_header: Callable[[int], Cells],
        identity: Callable[[RowT], Hashable],
        *,
        id: str | None = None,  # noqa: A002  Textual's own name for it
    ) -> None:
        super().__init__(id=id)
        self._draw_row = draw_row
        self._draw_header = draw_header
        self._identity = identity
        self._rows: list[RowT] = []
        self._known: list[Hashable] = []
        self._cursor = 0
        self._drawn: dict[int, Line] = {}
        self._drawn_width = 0
        self._styles: dict[str, Style] = {}
        self._is_dragged = False

    # -- rows and cursor -------------------------------------------------------------------------

    @property
    def selected(self) -> RowT | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    @property
    def cursor(self) -> int:
        """The index of the cursor's row, from 0."""
        return self._cursor

    @property
    def rows(self) -> Sequence[RowT]:
        """All rows, in order."""
        return self._rows

    def first_choice(self, rows: Sequence[RowT]) -> int:
        """Return the index of the row where the cursor starts."""
        return 0

    def set_rows(self, rows: list[RowT]) -> None:
        """Replace the rows; the cursor follows its row by identity, or keeps its index if gone."""
        before = self.selected
        known = [self._identity(row) for row in rows]
        was = None if before is None else self._identity(before)
        if before is None:
            self._cursor = self.first_choice(rows)
        elif not (self._cursor < len(known) and known[self._cursor] == was):
            at = known.index(was) if was in known else -1
            self._cursor = min(self._cursor, max(len(rows) - 1, 0)) if at < 0 else at
        same_places = known == self._known
        if not same_places:
            self._is_dragged = False  # the cursor follows its row, wherever that is now
        self._rows, self._known = rows, known
        self._fit_virtual_size()
        if same_places:
            self.refresh_numbers()
        else:
            self._drawn.clear()
            self.refresh()
            self._show_cursor()
        after = self.selected
        if after is None or self._identity(after) != was:
            self.post_message(self.Moved())

    def redraw(self) -> None:
        """Draw every line anew, also where its row is the same: other columns, other widths."""
        self._drawn.clear()
        self.refresh()

    def move_to(self, index: int) -> None:
        """Move the cursor to an index, clamped to the rows there are."""
        index = max(0, min(index, len(self._rows) - 1))
        if index == self._cursor or not self._rows:
            return
        old, self._cursor = self._cursor, index
        for row in (old, index):
            self._refresh_line(row)
        self._show_cursor()
        self.post_message(self.Moved())

    def move(self, by: int) -> None:
        """Move the cursor by ``by`` rows, down where it is positive."""
        self.move_to(self._cursor + by)

    def move_page(self, by: int) -> None:
        """Move the cursor by half pages."""
        self.move(by * max(1, (self.size.height - self._head) // 2))

    def move_end(self, last: bool) -> None:
        """Put the cursor on the first or the last row."""
        self.move_to(len(self._rows) - 1 if last else 0)

    def _fit_virtual_size(self) -> None:
        # Lines fit the viewport's width by themselves.
        self.virtual_size = Size(0, len(self._rows) + self._head)

    @property
    def _head(self) -> int:
        """The lines of the header: none where there is one line for all, which is a row's."""
        return 0 if self.size.height == 1 else 1

    @property
    def _line_width(self) -> int:
        """The width of a line in cells, without the scroll bar."""
        return self.scrollable_content_region.width

    # -- drawing ---------------------------------------------------------------------------------

    def refresh_numbers(self) -> None:
        """Repaint only what has changed in the visible rows."""
        top, width = self.scroll_offset.y - self._head, self._line_width
        for y in range(self._head, self.size.height):
            row = top + y
            before = self._drawn.get(row)
            if row >= len(self._rows) or before is None:
                continue
            after = self._line(row, width)
            if after != before:
                self._drawn[row] = after
                start, end = _difference(before, after)
                # Viewport coordinates: a ScrollView takes dirty regions relative to what it shows.
                self.refresh(Region(start, y, end - start, 1))

    def render_line(self, y: int) -> Strip:
        """Return line ``y`` of the viewport; the header, on line 0, does not scroll."""
        width = self._line_width
        if width != self._drawn_width:
            # The scroll bar has appeared or disappeared: invalidate the line cache.
            self._drawn.clear()
            self._drawn_width = width
        if y < self._head:
            return self._strip(Line(tuple(self._draw_header(width))), False)
        row = self.scroll_offset.y + y - self._head
        if row >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        line = self._drawn.get(row)
        if line is None:
            line = self._drawn[row] = self._line(row, width)
        if len(self._drawn) > 4 * max(self.size.height, 25):
            self._forget_hidden()
        return self._strip(line, row == self._cursor)

    def notify_style_update(self) -> None:
        """Invalidate the style cache: the theme may have changed."""
        self._styles.clear()
        super().notify_style_update()

    def on_resize(self) -> None:
        """Keep the cursor in the viewport."""
        self._fit_virtual_size()
        self._show_cursor()

    def watch_scroll_y(self, old: float, new: float) -> None:
        """Repaint after a scroll; the line cache is keyed by row and stays valid."""
        super().watch_scroll_y(old, new)
        self.refresh()
        if self._is_dragged:
            self._drag_cursor()

    @on(events.MouseScrollDown)
    @on(events.MouseScrollUp)
    @on(ScrollTo)
    @on(ScrollUp)
    @on(ScrollDown)
    def _scrolled_by_mouse(self) -> None:
        """Note that the wheel or the scroll bar scrolls from now on, and not the cursor."""
        self._is_dragged = True

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the row that is clicked."""
        row = self.scroll_offset.y + event.y - self._head
        if event.y >= self._head and row < len(self._rows):
            self.move_to(row)

    def _line(self, row: int, width: int) -> Line:
        mark = "▸" if row == self._cursor else " "
        cells = list(self._draw_row(self._rows[row], width - 1))
        return Line(((mark, ""), *cells))

    def _strip(self, line: Line, cursor: bool) -> Strip:
        base = self._style("")
        # A tinted cursor row needs true colours to blend; with 16 colours or none it is reversed.
        plain = self.app.no_color or self.app.current_theme.ansi
        extra = self._style("table--cursor-plain" if plain else "table--cursor") if cursor else None
        segments = []
        for text, name in line.cells:
            style = base + self._style(name) if name else base
            # Blocks are not reversed: a reversed sparkline would read as its opposite.
            if extra is not None and not (plain and _is_drawing(text)):
                style += extra
            segments.append(Segment(text, style))
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            self._styles[name] = component_style(self, name) if name else self.rich_style
        return self._styles[name]

    def _forget_hidden(self) -> None:
        top, bottom = self.scroll_offset.y, self.scroll_offset.y + self.size.height
        self._drawn = {row: line for row, line in self._drawn.items() if top <= row <= bottom}

    def _refresh_line(self, row: int) -> None:
        self._drawn.pop(row, None)
        y = row - self.scroll_offset.y + self._head
        if self._head <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _drag_cursor(self) -> None:
        """Move the cursor to the nearest row of the viewport, where a scroll left it outside."""
        top, height = self.scroll_offset.y, max(self.size.height - self._head, 1)
        row = min(max(self._cursor, top), top + height - 1, len(self._rows) - 1)
        if row != self._cursor and row >= 0:
            old, self._cursor = self._cursor, row
            for one in (old, row):
                self._refresh_line(one)
            self.post_message(self.Moved())

    def _show_cursor(self) -> None:
        self._is_dragged = False
        if not self.size:  # not laid out yet: on_resize follows
            return
        height = max(self.size.height - self._head, 1)
        top = self.scroll_offset.y
        # Keep a line above the cursor in the viewport: a route's own line above its first org.
        wanted_top = max(0, self._cursor - (1 if height > 2 else 0))
        if wanted_top < top:
            self.scroll_to_top(wanted_top)
        elif self._cursor >= top + height:
            self.scroll_to_top(self._cursor - height + 1)

    def scroll_to_top(self, row: int) -> None:
        """Scroll so that a row is the first one shown, as far as there are rows below it.

        Forced: Textual ignores a scroll until the layout in which the scroll bar appears, and the
        keys z and G may come before that.
        """
        self.scroll_to(y=row, animate=False, force=True)


def _is_drawing(text: str) -> bool:
    return bool(text.strip()) and not text.strip(" ▁▂▃▄▅▆▇█")


def _difference(one: Line, other: Line) -> tuple[int, int]:
    """Return the first cell that differs and the one after the last."""
    before, after = one.text, other.text
    if before == after or len(before) != len(after):
        return 0, max(cell_len(before), cell_len(after))
    start = 0
    while before[start] == after[start]:
        start += 1
    end = len(before)
    while before[end - 1] == after[end - 1]:
        end -= 1
    return cell_len(before[:start]), max(cell_len(before[:end]), cell_len(after[:end]))
