"""The one confirm dialog: every change of traffic goes through it."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Static

from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.ui.dialogs.seen import SeenDialog
from rollout_console.ui.mount_guard import Opened

FACTS_EVERY_S = 1.0
"""How often the figures of a rollback are renewed, in seconds: as often as home's."""

LEAST_REASON = 8
"""The minimum length of a typed reason in characters: a stray key and enter are no reason."""

_MOST_DIFF = 40
_MOST_LISTED = 1000
_SHORT = 14
"""The terminal height in lines below which title, border and margins are left out."""
_TALL = 30
"""The height from which a list, a typed reason and a typed name all fit below each other."""
_LISTED = 20
"""The height from which a list is shown above inputs."""
_TIGHT_DIFF = 4
"""The lines of the diff in a dialog without margins."""
_TITLED = 9
"""The height from which a rollback keeps its title: it is told by it from a raise."""


class Question(msgspec.Struct, frozen=True):
    """What is asked. ``type_name`` must be typed to confirm; ``held`` requires a typed reason.

    ``held_by`` says who holds it, ``why`` what the reason is for. ``warning`` is shown and holds
    nothing. ``rolls_back`` makes it look like a rollback, with colours or without. ``listed`` is
    what a change of several does, a line each, above the diff. ``wider`` names what ctrl+r asks for
    instead, where the guard holds a part of what was asked for. ``figures`` are the lines of now
    that a rollback is decided by. ``keeps`` is what is done without a confirmation.
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
    rolls_back: bool = False
    listed: tuple[str, ...] = ()
    wider: str = ""
    keeps: str = "Cancel"
    figures: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """A confirmation, with the typed reason if one was required.

    With ``widens`` it confirms nothing: the operator wants to be asked for all instead.
    """

    reason: str = ""
    widens: bool = False


class ConfirmDialog(Opened, SeenDialog[Answer | None]):
    """A modal dialog: focus starts on Cancel, enter never confirms, ``y`` does once it is seen.

    Where something must be typed, focus starts on the first input, and enter confirms once the
    inputs are valid.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "confirm", "Do it", show=False),
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("n,q", "decline", "Cancel", show=False),
        Binding("ctrl+r", "widen", "All, with a reason", show=False, priority=True),
        Binding("pageup", "page(-1)", "Page up in the list", show=False, priority=True),
        Binding("pagedown", "page(1)", "Page down in the list", show=False, priority=True),
    ]

    DEFAULT_CSS = """
    ConfirmDialog { align: center middle; }
    ConfirmDialog > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: round $accent; background: $panel; padding: 0 1;
    }
    ConfirmDialog .title { text-style: bold; }
    ConfirmDialog.-back > Vertical { border: heavy $error; }
    ConfirmDialog.-back .title { color: $error; }
    ConfirmDialog .effect { margin: 1 0 0 0; text-style: bold; }
    ConfirmDialog .diff { height: auto; max-height: 8; margin: 1 0 0 0; }
    ConfirmDialog .diff Static { width: auto; }
    ConfirmDialog .diff .listed { width: 1fr; }
    ConfirmDialog .more { color: $foreground 60%; }
    ConfirmDialog .held { color: $warning; }
    ConfirmDialog Input { margin: 0; }
    ConfirmDialog #problem { display: none; }
    ConfirmDialog Horizontal { height: 1; margin: 1 0 0 0; }
    ConfirmDialog Button { height: 1; min-width: 12; border: none; }
    ConfirmDialog .how { margin: 0 0 0 3; width: 1fr; }
    ConfirmDialog.-tight .diff { max-height: 4; margin: 0; }
    ConfirmDialog.-tight > Vertical { overflow-y: auto; }
    ConfirmDialog.-tight Input { height: 1; border: none; padding: 0; }
    ConfirmDialog.-tight Horizontal { dock: bottom; margin: 0; }
    ConfirmDialog.-tight.-bare .diff, ConfirmDialog.-tight.-bare .more { display: none; }
    ConfirmDialog.-short > Vertical {
        width: 100%; border: none; padding: 0; height: 100%; overflow-y: auto;
        scrollbar-size: 0 0;
    }
    ConfirmDialog.-short Input { height: 1; border: none; padding: 0; }
    ConfirmDialog.-short Horizontal { dock: bottom; }
    ConfirmDialog.-short .title { display: none; }
    ConfirmDialog.-short.-back.-titled .title { display: block; }
    ConfirmDialog.-short .effect, ConfirmDialog.-short Horizontal { margin: 0; }
    ConfirmDialog.-short .diff { max-height: 2; margin: 0; }
    ConfirmDialog.-short .more { display: none; }
    ConfirmDialog.-short Button { min-width: 8; }
    ConfirmDialog.-short .how { margin: 0 0 0 1; height: 1; }
    """

    def __init__(
        self,
        question: Question,
        facts_now: Callable[[], tuple[str, Sequence[str]]] | None = None,
    ) -> None:
        """``facts_now`` returns warning and figures anew, as those behind the dialog go on."""
        super().__init__()
        self._question = question
        self._facts_now = facts_now
        self.set_class(question.rolls_back, "-back")

    def compose(self) -> ComposeResult:
        """Yield the effect first, then warning, notes, diff and inputs, and Cancel last."""
        q = self._question
        with Vertical():
            yield Static(Content(visible(q.title)), classes="title")
            yield Static(Content(visible(q.effect)), classes="effect")
            warning = Static(_warning(q.warning), id="warning", classes="held")
            warning.display = bool(q.warning)
            yield warning
            for line in q.figures:
                yield Static(Content(visible(line)), classes="figures")
            for note in q.notes:
                yield Static(Content(visible(note)))
            if q.listed or q.diff:
                with VerticalScroll(classes="diff", can_focus=False):
                    if q.listed:
                        yield Static(_first(q.listed), classes="listed")
                    yield Static(self._diff_content())
            if q.listed:
                of = "its" if len(q.listed) == 1 else "their"
                lines = f"{counted(len(q.listed), 'line')} and {of} diff: pgup, pgdn"
                yield Static(lines, classes="more", markup=False)
            if q.wider:
                yield Static(Content(f"ctrl+r: {visible(q.wider)}"), classes="held wider")
            if q.held:
                yield Static(Content(f"{q.held_by}: {visible(q.held)}"), classes="held")
                hint = f"{q.why} ({LEAST_REASON} letters or more)"
                yield Input(placeholder=hint, id="reason")
            if q.type_name:
                yield Input(placeholder=f"type {visible(q.type_name)} to confirm", id="name")
            yield Static("", id="problem", classes="held", markup=False)
            with Horizontal():
                yield Button(q.keeps, id="cancel", compact=True)
                what = "roll back" if q.rolls_back else "do it"
                # In an input, n is a letter of what is typed.
                does, leaves = ("type, then enter", "esc") if self._typed else ("y", "n, esc")
                yield Static(f"{does}: {what}   {leaves}: {q.keeps.lower()}", classes="how")

    def opened(self) -> None:
        """Focus Cancel, or the first input where something must be typed."""
        self.on_resize()
        if self._facts_now is not None:
            self.set_interval(FACTS_EVERY_S, self._renew_facts)
        self.query_one("#cancel", Button).focus()
        if self._typed:
            # Typing is itself the protection: one stray key cannot type a name.
            self.query(Input).first().focus(scroll_visible=False)  # the effect is read first

    def _renew_facts(self) -> None:
        if self._facts_now is None or not self.is_current:
            return
        warning, figures = self._facts_now()
        said = self.query_one("#warning", Static)
        said.display = bool(warning)
        lines = [said, *self.query(".figures").results(Static)]
        texts = [_warning(warning), *(Content(visible(one)) for one in figures)]
        for line, text in zip(lines, texts, strict=True):
            if str(line.content) != str(text):
                line.update(text)

    def on_resize(self) -> None:
        """Leave out what does not fit a small terminal, also where it shrinks meanwhile."""
        height = self.app.size.height
        self.set_class(height < _TALL and bool(self._question.listed and self._typed), "-tight")
        self.set_class(height < _LISTED and bool(self._question.listed), "-bare")
        self.set_class(height < _SHORT, "-short")
        self.set_class(height >= _TITLED, "-titled")
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """Leave out more where the texts, wrapped to this width, push the keys out of sight.

        The margins and the borders of inputs go first, title and border of the dialog last.
        """
        if not self.is_current or self.has_class("-short"):
            return
        box, inputs = self.query_one(Vertical), list(self.query(Input).results(Input))
        last = max(one.region.bottom for one in (self.query_one("#cancel", Button), *inputs))
        missing = last - box.content_region.bottom
        if missing <= 0:
            return
        diff = sum(1 + max(one.size.height - _TIGHT_DIFF, 0) for one in self.query(".diff"))
        # A line of what is left out is for the problem, which enter may have.
        left_out = 2 * len(inputs) + diff
        self.add_class("-tight" if self._typed and missing <= left_out else "-short")

    @property
    def _typed(self) -> bool:
        return bool(self._question.type_name or self._question.held)

    def _diff_content(self) -> Content:
        diff, lines = self._question.diff, list[Content]()
        most = _MOST_LISTED if self._question.listed else _MOST_DIFF
        for line in diff[:most]:
            style = {"+": "$success", "-": "$error"}.get(line[:1], "")
            lines.append(Content.styled(visible(line.rstrip("\r\n")), style))
        if len(diff) > most:
            lines.append(Content(f"… and {len(diff) - most} more lines"))
        return Content("\n").join(lines)

    def action_confirm(self) -> None:
        """Confirm, unless it was not seen or something must be typed."""
        if self._typed:
            return
        if self.sight.is_seen:
            self.dismiss(Answer())
        elif self.sight.is_unanswered:
            self._say("not done: y came before the terminal showed this; y again")

    def action_widen(self) -> None:
        """Ask to be asked for all, where the guard holds a part; it confirms nothing."""
        if self._question.wider and self.sight.is_seen:
            self.dismiss(Answer(widens=True))

    def action_page(self, by: int) -> None:
        """Scroll the list and the diff by a page, also while an input has the focus."""
        for box in self.query(".diff").results(VerticalScroll):
            box.scroll_relative(y=by * box.size.height, animate=False)

    def action_cancel(self) -> None:
        """Dismiss with None: nothing is confirmed."""
        self.dismiss(None)

    def action_decline(self) -> None:
        """Dismiss with None, but not unseen.

        A key typed before the dialog was there was not meant for it.
        """
        if self.sight.is_seen:
            self.dismiss(None)

    def on_button_pressed(self) -> None:
        """Do as ``action_decline`` does: the only button is Cancel."""
        self.action_decline()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what is typed, where a small terminal shows the effect alone; say no old problem."""
        event.stop()
        self.query_one("#problem", Static).display = False
        if event.input.value:
            event.input.scroll_visible(animate=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Confirm if all inputs are valid; else focus the first invalid one and show why."""
        event.stop()
        reason, name = self._value("reason"), self._value("name")
        if self._question.held and len(reason) < LEAST_REASON:
            self.query_one("#reason", Input).focus()
            has = counted(len(reason), "letter") if reason else "empty"
            self._say(f"not done: the reason is {has}; type why, at least {LEAST_REASON} letters")
        elif self._question.type_name and name != self._question.type_name:
            field = self.query_one("#name", Input)
            field.focus()
            wanted = visible(self._question.type_name)
            has = f"{visible(name)} is not {wanted}" if name else "the name is empty"
            self._say(f"not done: {has}; type {wanted}")
        elif self.sight.is_seen:
            self.dismiss(Answer(reason))

    def _say(self, problem: str) -> None:
        """Show below the inputs why enter did not confirm: a toast expires before it is read."""
        shown = self.query_one("#problem", Static)
        shown.update(problem)
        shown.display = True
        is_small = self.has_class("-short") or self.has_class("-tight")
        if is_small and isinstance(self.focused, Input):
            self.call_after_refresh(self.focused.scroll_visible, animate=False, top=True)

    def _value(self, name: str) -> str:
        found = self.query(f"#{name}")
        return found.first(Input).value.strip() if found else ""


def _warning(words: str) -> Content:
    return Content(f"! {visible(words)}")


def _first(lines: Sequence[str]) -> Content:
    """Return the first lines, wrapped to the dialog: reasons are at the end of theirs."""
    found = [visible(line) for line in lines[:_MOST_LISTED]]
    if len(lines) > _MOST_LISTED:
        found.append(f"… and {len(lines) - _MOST_LISTED:,} more")
    return Content("\n".join(found))
