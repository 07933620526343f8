"""A modal dialog with text about something that has ids, which can be copied."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.text import copied_words


class IdsDialog(TextDialog):
    """Shows lines; a subclass binds the keys of its screen to ``copy`` and ``copy_all``."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "Close", show=False)
    ]

    def __init__(self, title: str, lines: list[str], ids: list[str], *, width: int) -> None:
        super().__init__(title, lines, width=width, hint="y: copy the id   Y: all ids   esc: close")
        self._ids = ids

    def action_copy(self) -> None:
        """Copy the first id."""
        self._copy(self._ids[:1])

    def action_copy_all(self) -> None:
        """Copy all ids, a line each."""
        self._copy(self._ids)

    def _copy(self, ids: list[str]) -> None:
        if ids:
            self.app.copy_to_clipboard("\n".join(ids))
            self.query_one("#hint", Static).update(Content(f"\n{copied_words(ids)}"))
            self.query_one(VerticalScroll).scroll_end(animate=False)
