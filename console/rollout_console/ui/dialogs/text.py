"""A modal dialog with scrollable text."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from rollout_console.common.safe_text import visible
from rollout_console.ui.dialogs.base import Dialog
from rollout_console.ui.mount_guard import Opened


class TextDialog(Opened, Dialog[None]):
    """Shows lines below a title until it is closed; ``width`` is in cells.

    ``hint`` names the keys, below the lines.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "Close", show=False)
    ]

    DEFAULT_CSS = """
    TextDialog { align: center middle; }
    TextDialog > VerticalScroll {
        width: 76; max-width: 100%; max-height: 90%; height: auto;
        border: round $accent; background: $panel; padding: 0 1;
    }
    """

    def __init__(
        self, title: str, lines: list[str], *, width: int = 76, hint: str = "esc: close"
    ) -> None:
        super().__init__()
        self._hint = hint
        self._wide = width
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Yield the title, the lines and the key hint."""
        body = "\n".join(visible(line) for line in self._lines)
        with VerticalScroll():
            yield Static(Content.assemble((f"{visible(self._title)}\n\n", "bold"), body))
            yield Static(Content(f"\n{visible(self._hint)}"), id="hint")

    def opened(self) -> None:
        """Apply the width that the caller set."""
        self.query_one(VerticalScroll).styles.width = self._wide

    def action_close(self) -> None:
        """Close the dialog."""
        self.dismiss(None)
