"""The live table of routes and orgs."""

from collections.abc import Callable, Sequence

from rollout_console.ui.screens.home.rows import Row, RowKey
from rollout_console.ui.widgets.line_table import Cells, LineTable


class RolloutTable(LineTable[Row]):
    """A route's own line, then its orgs, aliases and flags."""

    def __init__(
        self,
        draw_row: Callable[[Row, int], Cells],
        draw_header: Callable[[int], Cells],
        *,
        id: str | None = None,  # noqa: A002  Textual's own name for it
    ) -> None:
        super().__init__(draw_row, draw_header, lambda row: row.key, id=id)

    def first_choice(self, rows: Sequence[Row]) -> int:
        """Return the index of the first org, or of the first route where that is folded."""
        return 1 if len(rows) > 1 and not rows[1].is_route else 0

    def move_route(self, by: int) -> None:
        """Move the cursor to the next route's line, or to the previous where ``by`` is negative."""
        heads = [i for i, row in enumerate(self.rows) if row.is_route]
        if by > 0:
            target = next((i for i in heads if i > self.cursor), self.cursor)
        else:
            target = next((i for i in reversed(heads) if i < self.cursor), self.cursor)
        self.move_to(target)
        if self.size:  # the route at the top, with as many of its orgs as fit
            self.scroll_to_top(target)

    def move_to_row(self, key: RowKey) -> bool:
        """Move the cursor to a row; return whether it is among those that are shown."""
        found = next((i for i, row in enumerate(self.rows) if row.key == key), None)
        if found is not None:
            self.move_to(found)
        return found is not None
