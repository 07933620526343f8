"""A modal dialog with a form: labelled text inputs, each with what may be typed into it."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from rollout_console.common.safe_text import visible
from rollout_console.ui.dialogs.base import Dialog
from rollout_console.ui.mount_guard import Opened

_MOST_VALUE = 20_000
_TITLED = 9
"""The terminal height in lines from which a form that does not fit keeps its title."""

_NARROW = 40
"""The terminal width in cells below which borders and what other fields take are left out."""


def _is_fine(_value: str) -> str:
    return ""


class Field(msgspec.Struct, frozen=True):
    """One input: its name, label and initial value; ``hidden`` masks it with dots.

    ``hint`` is shown below it. ``choices`` maps the only values there are to what they mean, empty
    where the value says it; the first letters of one will do. ``check`` returns what is wrong with
    a value and what to do, empty where nothing is.
    """

    name: str
    label: str
    value: str = ""
    hint: str = ""
    hidden: bool = False
    choices: Mapping[str, str] = {}
    check: Callable[[str], str] = _is_fine

    def resolve(self, text: str) -> str:
        """Return the choice that a text begins, or else the text as it is."""
        begun = text.strip().lower()
        found = [one for one in self.choices if begun and one.startswith(begun)]
        return begun if begun in found else found[0] if len(found) == 1 else text

    def problem(self, value: str) -> str:
        """Return what is wrong with a resolved value and what to do; empty where nothing is."""
        if self.choices and value not in self.choices:
            given = "none of them" if value.strip() else "empty"
            return f"{given}; type one of {', '.join(self.choices)}, or its first letters"
        return self.check(value)


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with the field of a name, and what to do about it."""

    field: str
    words: str


Values = Mapping[str, str]


class FormDialog(Opened, Dialog[Values | None]):
    """Dismisses with the typed values by field name, or None.

    Enter moves the focus to the next input and, on the last, submits the form; up and down move it
    too. A field that is wrong gets the focus with its value as it was typed, and the error line
    names it; enter then submits the form again. ``check`` compares several fields, once each is
    right by itself; ``wrong`` is a problem from an earlier attempt. Masked inputs are cleared when
    the dialog closes.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Previous field", show=False),
    ]

    DEFAULT_CSS = """
    FormDialog { align: center middle; }
    FormDialog > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: round $accent; background: $panel; padding: 0 1;
    }
    FormDialog .title { text-style: bold; }
    FormDialog .fields { height: auto; }
    FormDialog .field { height: auto; }
    FormDialog Horizontal { height: 1; }
    FormDialog .label { width: 12; text-wrap: nowrap; text-overflow: ellipsis; }
    FormDialog .-wrong .label { color: $error; text-style: bold; }
    FormDialog .about { margin: 0 0 0 12; height: auto; color: $foreground 70%; }
    FormDialog Input { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
    FormDialog Input:focus { border: none; background: $primary-muted; }
    FormDialog .error { display: none; color: $error; height: auto; max-height: 4; }
    FormDialog .how { margin: 1 0 0 0; }
    FormDialog.-short > Vertical { height: 100%; border: none; padding: 0; }
    FormDialog.-short .fields { height: 1fr; }
    FormDialog.-short .about { display: none; margin: 0; }
    FormDialog.-short .field:focus-within .about { display: block; }
    FormDialog.-short .how { height: 1; margin: 0; text-wrap: nowrap; }
    FormDialog.-low .title, FormDialog.-low .note { display: none; }
    FormDialog.-low.-wrong-one .how { display: none; }
    """

    def __init__(
        self,
        title: str,
        fields: tuple[Field, ...],
        check: Callable[[Values], Problem | None] = lambda _values: None,
        note: str = "",
        wrong: Problem | None = None,
    ) -> None:
        super().__init__()
        self._title = title
        self._fields = fields
        self._check = check
        self._note = note
        self._wrong = wrong
        self._was_refused = False
        self._refused = ""

    def compose(self) -> ComposeResult:
        """Yield the title, each field with what may be typed, the error line and the key hints."""
        with Vertical():
            yield Static(Content(visible(self._title)), classes="title")
            if self._note:
                yield Static(Content(visible(self._note)), classes="note")
            with VerticalScroll(classes="fields", can_focus=False):
                for field in self._fields:
                    with Vertical(classes="field"):
                        with Horizontal():
                            yield Static(Content(field.label), classes="label")
                            yield Input(
                                field.value, password=field.hidden,
                                id=f"field-{field.name}", max_length=_MOST_VALUE,
                            )  # fmt: skip
                        if field.hint or field.choices:
                            yield Static(_about(field, field.value), classes="about")
            yield Static("", classes="error", markup=False)
            yield Static("enter: next field, on the last: submit   esc: cancel", classes="how")

    def opened(self) -> None:
        """Focus the field that is wrong, else the first empty input, or the first of all."""
        self._fit()
        if self._wrong is not None:
            self._refuse(self._wrong, submitted=False)
            return
        first = self.query(Input).first()
        next((line for line in self.query(Input) if not line.value), first).focus()

    def on_resize(self) -> None:
        """Show what may be typed of the focused field alone where not all of it fits."""
        self._fit()

    def _fit(self) -> None:
        width, height = self.app.size
        abouts = sum(bool(field.hint or field.choices) for field in self._fields)
        around = 7 + len(self._note) // max(width - 4, 1)  # with two lines for an error
        self.set_class(height < len(self._fields) + abouts + around or width < _NARROW, "-short")
        self.set_class(height < _TITLED, "-low")
        if self.focused is not None:
            self.call_after_refresh(self._show_focused)

    def _show_focused(self) -> None:
        if self.focused is not None:
            self.focused.scroll_visible(animate=False)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        """Show which choice is meant, and that nothing is known to be wrong any more."""
        event.stop()
        if not event.input.is_attached:  # cleared while the form closes
            return
        field = self._field_of(event.input)
        row = event.input.query_ancestor(".field")
        # Messages of changes typed before enter come after the refusal: the value of now counts.
        if row.has_class("-wrong") and event.input.value != self._refused:
            row.remove_class("-wrong")
            self._say("")
        if field.choices:
            row.query_one(".about", Static).update(_about(field, event.value))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        """Go to the next field, or submit the form; show what is wrong with what is entered."""
        event.stop()
        if not self.is_active:  # submitted already: some inputs may be unmounted
            return
        inputs = list(self.query(Input))
        at = inputs.index(event.input)
        typed = {field.name: line.value for field, line in zip(self._fields, inputs, strict=True)}
        values = {field.name: field.resolve(typed[field.name]) for field in self._fields}
        is_last = self._was_refused or at + 1 == len(inputs)
        for field in self._fields if is_last else self._fields[at : at + 1]:
            words = field.problem(values[field.name])
            # An empty field that is passed by may be filled in later.
            if words and (is_last or values[field.name].strip()):
                self._refuse(Problem(field.name, words), submitted=is_last)
                return
        if not is_last:
            self.set_focus(inputs[at + 1])
        elif problem := self._check(values):
            self._refuse(problem, submitted=True)
        else:
            self._close(values)

    def _refuse(self, problem: Problem, *, submitted: bool) -> None:
        """Focus the field that is wrong, with its value, and say why."""
        line = self.query_one(f"#field-{problem.field}", Input)
        for row in self.query(".field.-wrong"):
            row.remove_class("-wrong")
        line.query_ancestor(".field").add_class("-wrong")
        self._refused = line.value
        line.select_on_focus = False  # typing corrects the value, and does not replace it
        line.cursor_position = len(line.value)
        self.set_focus(line)
        self._was_refused = submitted
        self._say(f"! {self._field_of(line).label}: {problem.words}")
        self.call_after_refresh(self._show_focused)

    def _say(self, problem: str) -> None:
        shown = self.query_one(".error", Static)
        shown.update(visible(problem))
        shown.display = bool(problem)
        self.set_class(bool(problem), "-wrong-one")

    def _field_of(self, line: Input) -> Field:
        return next(field for field in self._fields if line.id == f"field-{field.name}")

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


def _about(field: Field, value: str) -> Content:
    """Return what may be typed into a field: its choices, the one that is meant in bold."""
    pieces: list[tuple[str, str]] = []
    meant = field.resolve(value)
    for one, words in field.choices.items():
        said = f"{one} ({words})" if words else one
        pieces += [(" · " if pieces else "", ""), (said, "bold" if one == meant else "")]
    if field.hint:
        pieces.append((f"{': ' if pieces else ''}{field.hint}", ""))
    return Content.assemble(*((visible(text), style) for text, style in pieces))
