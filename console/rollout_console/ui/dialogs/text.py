"""Text to read, in a box that scrolls."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from rollout_console.common.safe_text import visible
from rollout_console.ui.mount_guard import Opened


class TextDialog(Opened, ModalScreen[None]):
    """Shows lines under a title until it is closed."""

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

    def __init__(self, title: str, lines: list[str], *, width: int = 76) -> None:
        super().__init__()
        self._wide = width
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """The title and the lines."""
        body = "\n".join(visible(line) for line in self._lines)
        with VerticalScroll():
            yield Static(Content.assemble((f"{visible(self._title)}\n\n", "bold"), body))
            yield Static("\nesc: close")

    def opened(self) -> None:
        """Take the width that was asked for."""
        self.query_one(VerticalScroll).styles.width = self._wide

    def action_close(self) -> None:
        """Close it."""
        self.dismiss(None)
