"""A modal dialog that asks for an exact percent."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from rollout_console.common.safe_text import visible
from rollout_gate.file.errors import PercentError
from rollout_gate.file.percent import parse_percent


class PercentDialog(ModalScreen[int | None]):
    """Dismisses with basis points (0 to 10,000), or None; the change is still confirmed later."""

    TAKES_DIGITS = True
    """Digits typed ahead of its input are meant for it."""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", show=False)]

    DEFAULT_CSS = """
    PercentDialog { align: center middle; }
    PercentDialog > Vertical {
        width: 60; max-width: 100%; height: auto;
        border: round $accent; background: $panel; padding: 0 1;
    }
    PercentDialog .error { color: $error; height: auto; }
    """

    def __init__(self, target: str, now: str) -> None:
        """``now`` is the percent that the target has, or the range of several."""
        super().__init__()
        self._target = target
        self._now = now

    def compose(self) -> ComposeResult:
        """Yield the input, the key hints and the error line."""
        with Vertical():
            yield Static(Content(f"{visible(self._target)}: now {self._now}, new percent:"))
            yield Input(placeholder="0 to 100, at most two decimals", max_length=12)
            yield Static("enter: continue to the confirm   esc: cancel", classes="how")
            yield Static("", classes="error")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Parse the input and dismiss with its value, or show the parse error."""
        event.stop()
        try:
            self.dismiss(parse_percent(event.value))
        except PercentError as error:
            text = str(error)
            text = text if text.startswith("'") else f"the percent {text}"
            self.query_one(".error", Static).update(Content(visible(text)))

    def action_cancel(self) -> None:
        """Dismiss with None: no percent is set."""
        self.dismiss(None)
