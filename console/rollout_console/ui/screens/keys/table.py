"""The table of API keys, whose cursor is always in the viewport."""

from typing import Any

from textual import events, on
from textual.scrollbar import ScrollDown, ScrollTo, ScrollUp
from textual.widgets import DataTable


class KeyTable(DataTable[Any]):
    """A DataTable whose cursor goes along where the mouse scrolls: the next key acts on its row."""

    @on(events.MouseScrollDown)
    @on(events.MouseScrollUp)
    @on(ScrollTo)
    @on(ScrollUp)
    @on(ScrollDown)
    def _scrolled_by_mouse(self) -> None:
        self.call_after_refresh(self._drag_cursor)

    def _drag_cursor(self) -> None:
        top, height = self.scroll_offset.y, max(self.size.height - self.header_height, 1)
        row = min(max(self.cursor_row, top), top + height - 1, self.row_count - 1)
        if row not in (self.cursor_row, -1):
            self.move_cursor(row=row, scroll=False)
