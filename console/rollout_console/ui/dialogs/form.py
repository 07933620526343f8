"""A small form: labelled lines to type in, one of them perhaps hidden."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from rollout_console.common.safe_text import visible
from rollout_console.ui.mount_guard import Opened


@dataclass(frozen=True, slots=True)
class Field:
    """One line: its name, label, present value, what may be typed; ``hidden`` shows dots."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    hidden: bool = False


Values = Mapping[str, str]


class FormDialog(Opened, ModalScreen[Values | None]):
    """Dismisses with what was typed, or None.

    ``check`` returns what is wrong with the values, empty where nothing is. Enter goes from line
    to line and, on the last, takes the form. Hidden lines are emptied when the dialog closes.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", show=False)]

    DEFAULT_CSS = """
    FormDialog { align: center middle; }
    FormDialog > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: round $accent; background: $panel; padding: 0 1;
    }
    FormDialog .title { text-style: bold; }
    FormDialog Horizontal { height: 1; }
    FormDialog .label { width: 12; }
    FormDialog Input { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
    FormDialog Input:focus { border: none; background: $primary-muted; }
    FormDialog .error { color: $error; height: auto; }
    FormDialog .how { margin: 1 0 0 0; }
    """

    def __init__(
        self,
        title: str,
        fields: tuple[Field, ...],
        check: Callable[[Values], str] = lambda _values: "",
        note: str = "",
    ) -> None:
        super().__init__()
        self._title = title
        self._fields = fields
        self._check = check
        self._note = note

    def compose(self) -> ComposeResult:
        """The title, a line for each field, and a place for what is wrong."""
        with Vertical():
            yield Static(Content(visible(self._title)), classes="title")
            if self._note:
                yield Static(Content(visible(self._note)))
            for field in self._fields:
                with Horizontal():
                    yield Static(Content(field.label), classes="label")
                    yield Input(
                        value=field.value, placeholder=field.hint, password=field.hidden,
                        id=f"field-{field.name}", max_length=20_000,
                    )  # fmt: skip
            yield Static("enter: next line, at the end go on   esc: cancel", classes="how")
            yield Static("", classes="error")

    def opened(self) -> None:
        """Start on the first line that is empty."""
        first = self.query(Input).first()
        next((line for line in self.query(Input) if not line.value), first).focus()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        inputs = list(self.query(Input))
        at = inputs.index(event.input)
        if at + 1 < len(inputs):
            inputs[at + 1].focus()
            return
        values = {field.name: line.value for field, line in zip(self._fields, inputs, strict=True)}
        trouble = self._check(values)
        if trouble:
            self.query_one(".error", Static).update(Content(visible(trouble)))
            return
        self._close(values)

    def action_cancel(self) -> None:
        """Leave everything as it is."""
        self._close(None)

    def _close(self, values: Values | None) -> None:
        # By name: a second escape may find the form half taken down already.
        for field in self._fields:
            if field.hidden:
                for line in self.query(f"#field-{field.name}").results(Input):
                    line.value = ""
        self.dismiss(values)
