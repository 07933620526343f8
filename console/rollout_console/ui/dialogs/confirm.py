"""The one confirm dialog: every change of traffic goes through it."""

from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from rollout_console.common.safe_text import visible
from rollout_console.ui.mount_guard import Opened

GRACE_S = 0.2
"""Keys typed this soon after the dialog opened were meant for something else."""

LEAST_REASON = 8
"""Letters of a typed reason: a stray key and enter are none."""

_MOST_DIFF = 40
_SHORT = 14
"""In fewer lines than this the effect and the keys have all the room there is."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``type_name`` must be typed to go on; ``held`` asks for a typed reason.

    ``held_by`` says who holds it, ``why`` what the reason is for. ``warning`` is to be known
    before, and holds nothing.
    """

    title: str
    effect: str
    diff: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    type_name: str = ""
    held: str = ""
    held_by: str = "the guard holds"
    why: str = "type a reason to override the guard"
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes, and the reason typed, if one was asked for."""

    reason: str = ""


class ConfirmDialog(Opened, ModalScreen[Answer | None]):
    """Focus starts on Cancel, enter alone never confirms, ``y`` does after a short grace.

    Where something must be typed, typing it right and enter confirms instead.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "confirm", "Do it", show=False),
        Binding("n,escape,q", "cancel", "Cancel", show=False),
    ]

    DEFAULT_CSS = """
    ConfirmDialog { align: center middle; }
    ConfirmDialog > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: round $accent; background: $panel; padding: 0 1;
    }
    ConfirmDialog .title { text-style: bold; }
    ConfirmDialog .effect { margin: 1 0 0 0; text-style: bold; }
    ConfirmDialog .diff { height: auto; max-height: 8; margin: 1 0 0 0; }
    ConfirmDialog .diff Static { width: auto; }
    ConfirmDialog .held { color: $warning; }
    ConfirmDialog Input { margin: 0; }
    ConfirmDialog #problem { display: none; }
    ConfirmDialog Horizontal { height: 1; margin: 1 0 0 0; }
    ConfirmDialog Button { height: 1; min-width: 12; border: none; }
    ConfirmDialog .how { margin: 0 0 0 3; width: 1fr; }
    ConfirmDialog.-short > Vertical { border: none; padding: 0; }
    ConfirmDialog.-short .title { display: none; }
    ConfirmDialog.-short .effect, ConfirmDialog.-short Horizontal { margin: 0; }
    ConfirmDialog.-short Button { min-width: 8; }
    ConfirmDialog.-short .how { margin: 0 0 0 1; height: 1; }
    """

    def __init__(self, question: Question) -> None:
        super().__init__()
        self._question = question
        self._opened = monotonic()

    def compose(self) -> ComposeResult:
        """Lay out the effect first, then what it rests on, then the way out."""
        q = self._question
        with Vertical():
            yield Static(Content(visible(q.title)), classes="title")
            yield Static(Content(visible(q.effect)), classes="effect")
            if q.warning:
                yield Static(Content(f"! {visible(q.warning)}"), classes="held")
            for note in q.notes:
                yield Static(Content(visible(note)))
            if q.diff:
                with VerticalScroll(classes="diff", can_focus=False):
                    yield Static(self._diff_content())
            if q.held:
                yield Static(Content(f"{q.held_by}: {visible(q.held)}"), classes="held")
                hint = f"{q.why} ({LEAST_REASON} letters or more)"
                yield Input(placeholder=hint, id="reason")
            if q.type_name:
                yield Input(placeholder=f"type {visible(q.type_name)} to confirm", id="name")
            yield Static("", id="problem", classes="held", markup=False)
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True)
                how = "type, then enter: do it" if self._typed else "y: do it"
                yield Static(f"{how}   n, esc: cancel", classes="how")

    def on_screen_resume(self) -> None:
        """Count the grace from when it is in front, also when something before it was closed."""
        self._opened = monotonic()

    def opened(self) -> None:
        """Start on Cancel, whatever else could take the focus."""
        self._opened = monotonic()
        self.set_class(self.app.size.height < _SHORT, "-short")
        self.query_one("#cancel", Button).focus()
        if self._typed:
            # Typing is itself the protection here, and a name cannot be typed by one stray key.
            self.query(Input).first().focus()

    @property
    def _typed(self) -> bool:
        return bool(self._question.type_name or self._question.held)

    def _diff_content(self) -> Content:
        lines = []
        for line in self._question.diff[:_MOST_DIFF]:
            style = {"+": "$success", "-": "$error"}.get(line[:1], "")
            lines.append(Content.styled(visible(line.rstrip("\r\n")), style))
        more = len(self._question.diff) - _MOST_DIFF
        if more > 0:
            lines.append(Content(f"… and {more} more lines"))
        return Content("\n").join(lines)

    def action_confirm(self) -> None:
        """Confirm, unless the key came too soon or something must be typed."""
        if not self._typed and monotonic() - self._opened >= GRACE_S:
            self.dismiss(Answer())

    def action_cancel(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)

    def on_button_pressed(self) -> None:
        """The only button is Cancel."""
        self.dismiss(None)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Confirm where all that was asked for is typed; else go to what is missing, and say it."""
        event.stop()
        reason, name = self._value("reason"), self._value("name")
        if self._question.held and len(reason) < LEAST_REASON:
            self.query_one("#reason", Input).focus()
            if reason:
                self._say(f"not done: a reason has at least {LEAST_REASON} letters")
        elif self._question.type_name and name != self._question.type_name:
            field = self.query_one("#name", Input)
            field.focus()
            if name:
                self._say(f"not done: {visible(name)} is not {visible(self._question.type_name)}")
        elif monotonic() - self._opened >= GRACE_S:
            self.dismiss(Answer(reason))

    def _say(self, problem: str) -> None:
        """Say under the fields why enter did not confirm: a toast goes before it is read."""
        shown = self.query_one("#problem", Static)
        shown.update(problem)
        shown.display = True

    def _value(self, name: str) -> str:
        found = self.query(f"#{name}")
        return found.first(Input).value.strip() if found else ""
