"""A modal dialog to choose an option, by arrows and enter; a change that follows is confirmed."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rollout_console.common.safe_text import visible
from rollout_console.ui.dialogs.base import Dialog
from rollout_console.ui.mount_guard import Opened


class ChoiceDialog(Opened, Dialog[int | None]):
    """Dismisses with the index of the chosen option, or None; the cursor starts at ``now``."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Cancel", show=False),
        Binding("j", "step(1)", "Down", show=False),
        Binding("k", "step(-1)", "Up", show=False),
    ]

    DEFAULT_CSS = """
    ChoiceDialog { align: center middle; }
    ChoiceDialog > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: round $accent; background: $panel; padding: 0 1;
    }
    ChoiceDialog OptionList { height: auto; max-height: 14; border: none; padding: 0; }
    """

    def __init__(self, title: str, choices: Sequence[str], now: int = 0) -> None:
        super().__init__()
        self._title = title
        self._choices = choices
        self._now = now

    def compose(self) -> ComposeResult:
        """Yield the title, the options and the key hints."""
        with Vertical():
            yield Static(Content(visible(self._title)))
            yield OptionList(*(Option(Content(visible(one))) for one in self._choices))
            yield Static("enter: choose   esc: cancel", classes="how")

    def opened(self) -> None:
        """Focus the list, with the cursor on the current choice."""
        options = self.query_one(OptionList)
        options.highlighted = self._now
        options.focus()

    def action_step(self, by: int) -> None:
        """Move the cursor by one option, down where ``by`` is positive."""
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_index)

    def action_cancel(self) -> None:
        """Dismiss with None: nothing is chosen."""
        self.dismiss(None)
