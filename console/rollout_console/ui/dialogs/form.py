"""A modal dialog with a form: labelled text inputs, which may be masked."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from rollout_console.common.safe_text import visible
from rollout_console.ui.mount_guard import Opened


class Field(msgspec.Struct, frozen=True):
    """One input: its name, label, initial value and placeholder; ``hidden`` masks it with dots."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    hidden: bool = False


Values = Mapping[str, str]


class FormDialog(Opened, ModalScreen[Values | None]):
    """Dismisses with the typed values by field name, or None.

    ``check`` validates the values and returns an error message, empty where there is none. Enter
    moves the focus to the next input and, on the last, submits the form. Masked inputs are cleared
    when the dialog closes.
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
        """Yield the title, an input for each field, the key hints and the error line."""
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
            yield Static("enter: next field, on the last: submit   esc: cancel", classes="how")
            yield Static("", classes="error")

    def opened(self) -> None:
        """Focus the first empty input, or the first of all."""
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
        """Dismiss with None: nothing is submitted."""
        self._close(None)

    def _close(self, values: Values | None) -> None:
        # Query by id: at a second escape some of the inputs may be unmounted already.
        for field in self._fields:
            if field.hidden:
                for line in self.query(f"#field-{field.name}").results(Input):
                    line.value = ""
        self.dismiss(values)
