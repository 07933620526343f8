"""A modal dialog that asks for an exact percent."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from rollout_console.common.safe_text import visible
from rollout_console.ui.dialogs.base import Dialog
from rollout_gate.file.errors import PercentError
from rollout_gate.file.percent import parse_percent, percent_text

_SHORT = 10
"""The terminal height in lines below which borders are left out."""


class PercentDialog(Dialog[int | None]):
    """Dismisses with basis points (0 to 10,000), or None; the change is still confirmed later.

    ``points`` is the share now, and ``steps`` those of the ramp, all in basis points.
    """

    TAKES_DIGITS = True
    """Digits typed ahead of its input are meant for it."""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", show=False)]

    DEFAULT_CSS = """
    PercentDialog { align: center middle; }
    PercentDialog > Vertical {
        width: 60; max-width: 100%; height: auto;
        border: round $accent; background: $panel; padding: 0 1;
    }
    PercentDialog.-short > Vertical { border: none; padding: 0; max-height: 100%; }
    PercentDialog.-short Input { height: 1; border: none; padding: 0; }
    PercentDialog.-short .target { text-wrap: nowrap; text-overflow: ellipsis; height: 1; }
    PercentDialog .steps { color: $foreground 70%; }
    PercentDialog .error { display: none; color: $error; height: auto; }
    """

    def __init__(self, target: str, now: str, steps: Sequence[int] = ()) -> None:
        """``now`` is the percent that the target has, or the range of several."""
        super().__init__()
        self._steps = steps
        self._target = target
        self._now = now

    def compose(self) -> ComposeResult:
        """Yield the input, the key hints and the error line."""
        with Vertical():
            asked = Content(f"{visible(self._target)}: now {self._now}, new percent:")
            yield Static(asked, classes="target")
            yield Input(max_length=12)
            yield Static("", classes="error")
            steps = " ".join(percent_text(step) for step in self._steps)
            ramp = f"; the ramp's steps: {steps}" if steps else ""
            yield Static(f"0 to 100, at most two decimals{ramp}", classes="steps", markup=False)
            yield Static("enter: continue to the confirm   esc: cancel", classes="how")

    def on_resize(self) -> None:
        """Leave out the borders where a small terminal needs the lines."""
        self.set_class(self.app.size.height < _SHORT, "-short")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Parse the input and dismiss with its value, or show the parse error."""
        event.stop()
        try:
            self.dismiss(parse_percent(event.value))
        except PercentError as error:
            shown = self.query_one(".error", Static)
            shown.update(Content(f"! percent: {visible(str(error))}"))
            shown.display = True

    def action_cancel(self) -> None:
        """Dismiss with None: no percent is set."""
        self.dismiss(None)
