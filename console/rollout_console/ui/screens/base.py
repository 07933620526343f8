"""Base classes of all screens but home: notices, disabled keys, one action at a time."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import takewhile
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events, work
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from rollout_console.changes.switch import Done
from rollout_console.common.errors import OperationError
from rollout_console.common.safe_text import visible
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.history.errors import HistoryError
from rollout_console.tokenlab.errors import ApiError
from rollout_console.ui.keymap import Key
from rollout_console.ui.loop_time import LoopTime
from rollout_console.ui.messages import Resized
from rollout_console.ui.mount_guard import Opened
from rollout_console.ui.reading import Reading
from rollout_console.ui.text import copied_words
from rollout_console.ui.widgets.line import TextLine
from rollout_gate.file.errors import RolloutError
from rollout_gate.secret import redacted

if TYPE_CHECKING:
    from rollout_console.ui.key_order import KeyOrder
    from rollout_console.ui.session import Session
    from rollout_console.ui.terminal_app import TerminalApp

Pieces = Sequence[tuple[str, str]]
"""Text and its style, one after the other."""

_OPENS_WITHIN_S = 2.0
_ROWS_WITHIN_S = 0.5
"""Seconds after a screen was opened in which keys wait for its rows: not for a slow API."""
_UNDER_WAY = "the previous action is still running"
FAULTS = (ApiError, OperationError, VaultError, RolloutError, HistoryError)
"""Expected errors, each reported as one sentence on the screen."""


Typed = events.Key | events.Paste
"""What may be type-ahead."""


def _is_text(typed: Typed) -> bool:
    return isinstance(typed, events.Paste) or typed.is_printable


def _is_escape(typed: Typed) -> bool:
    return isinstance(typed, events.Key) and typed.key == "escape"


class BesideScreen(Opened, Screen[None]):
    """A screen that is opened from home and left with escape.

    Its notice line shows the last message, else the current problem, else the screen's default.
    """

    CONTEXT: ClassVar[str] = ""
    """Its name in the key table and in the help."""
    KEYS: ClassVar[Sequence[Key]] = ()
    """The screen's own keys."""
    NOTICE: ClassVar[str] = ""
    """The CSS selector of the notice line."""

    DEFAULT_CSS = """
    BesideScreen > .alarm { background: $warning-muted; }
    BesideScreen > .alarm.-bad { background: $error-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._alarm: TextLine | None = None
        self._alarm_said: tuple[Pieces, bool] = (), False
        self._told = ""
        self._trouble = ""
        self._reading = Reading("", inf)  # a screen that reads has one of its own
        self._busy = False
        self._made_at = monotonic()
        self._started: LoopTime | None = None
        self._typed_ahead: list[Typed] = []

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        raise NotImplementedError

    def draw_lines(self) -> None:
        """Redraw the lines around the table."""
        raise NotImplementedError

    def go_back(self) -> bool:
        """Close what is open and dismiss the notice; return whether there was either."""
        raise NotImplementedError

    def on_resize(self) -> None:
        """Have the alarm line fitted; a subclass's own handler runs as well."""
        self.post_message(Resized())

    def alarm_line(self) -> TextLine:
        """Return the line under the status that says what is wrong anywhere, hidden if nothing."""
        self._alarm = TextLine()
        self._alarm.add_class("alarm")
        self.show_alarm(*self._alarm_said)
        return self._alarm

    def show_alarm(self, pieces: Pieces, is_bad: bool) -> None:
        """Show the gravest alert of all routes; ``is_bad`` is an alarm, otherwise a warning.

        Before the screen is composed it is kept, so that the first frame has the line.
        """
        self._alarm_said = pieces, is_bad
        if self._alarm is not None:
            self._alarm.display = bool(pieces)
            self._alarm.set_class(is_bad, "-bad")
            self._alarm.say(*pieces)

    def history_changed(self) -> None:
        """Do what is to be done where the history may have new rows: nothing by default."""

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """Show a message in the notice line, with secrets redacted; ``bad`` marks a problem."""
        sentence = redacted(visible(sentence))
        self._told, self._trouble = ("", sentence) if bad else (sentence, "")
        self.draw_lines()

    def copy_ids(self, key_id: str, ids: Sequence[str]) -> None:
        """Copy ids to the terminal's clipboard (OSC 52), a line each, where a key is enabled."""
        if self.may(key_id) and ids:
            self.app.copy_to_clipboard("\n".join(ids))
            self.say(copied_words(ids))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Report a crashed worker: no failure is silent."""
        if event.state is WorkerState.ERROR:
            self.say(f"internal error: {type(event.worker.error).__name__}", bad=True)
            if event.worker.group.endswith("-read"):
                self._reading.end(time(), event.worker.error)  # and is tried again

    def show_notice(self, *otherwise: tuple[str, str]) -> None:
        """Show the last message or the current problem, else the pieces given."""
        line = self.query_one(self.NOTICE, TextLine)
        if self._told:
            line.say((f" {self._told}", "$success"))
        elif self._trouble:
            line.say((" ! ", "$error bold"), (visible(self._trouble), "$warning"))
        else:
            line.say(*otherwise)

    def may(self, key_id: str) -> bool:
        """Return whether a key is enabled now; report why where it is not."""
        reason = self.why_not(next(key for key in self.KEYS if key.id == key_id))
        self._told = ""
        if reason:
            self.say(reason, bad=True)
        return not reason

    def start(self, flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a key's action in a worker, one at a time; another is refused meanwhile.

        A second press during the first one's network request would otherwise confirm, and pay,
        twice.
        """
        if self._busy:
            self.say(_UNDER_WAY, bad=True)
            return
        self._busy = True
        if self._started is not None:
            self._started.stop()
        self._started = LoopTime(_OPENS_WITHIN_S, partial(self.call_later, self._opens_no_form))
        self._typed_ahead.clear()
        self._run_flow(flow)

    def holds(self, _event: events.Event) -> bool:
        """Return whether a key is to wait a moment for the rows, from which it chooses."""
        return self._reading.is_first and monotonic() - self._made_at < _ROWS_WITHIN_S

    def takes_ahead(self, typed: Typed) -> bool:
        """Return whether a key or a paste is type-ahead for a form about to open, and buffer it.

        On a slow link a key and the text for its form arrive together: neither that text nor the
        keys that edit it must act on this screen. They are buffered for the first two seconds of an
        action. Where it opens no form by then, or what it opens has no input, the text is dropped.
        """
        if not self._busy or self._started is None or self._started.is_over:
            return False
        self._typed_ahead.append(typed)
        self.say(_UNDER_WAY, bad=True)
        return True

    def on_screen_suspend(self) -> None:
        """Replay the buffered type-ahead into the input of the dialog that has opened.

        An escape closes the dialog also where it has no input, and what follows is keys again.
        """
        if self._started is not None:
            self._started.stop()
            self._started = None
        typed, self._typed_ahead = self._typed_ahead, []
        if typed:
            self.say("")
            at = next((at for at, one in enumerate(typed) if _is_escape(one)), len(typed))
            self._dispatch(typed[at:])
            self._key_order.type_ahead(typed[:at])

    def _opens_no_form(self) -> None:
        """Dispatch what was no text of a form: up to the first of its letters, and an escape.

        A first letter that opens another screen does so: the operator's next key is meant for that
        screen, and must not act on this one.
        """
        typed, self._typed_ahead = self._typed_ahead, []  # not meant for what opens later
        if not self.is_current:
            return
        keys = [*takewhile(lambda one: not _is_text(one), typed)]
        rest = typed[len(keys) :]
        if rest and self._opens_a_screen(rest[0]):
            keys.append(rest[0])
        else:
            keys += [one for one in rest if _is_escape(one)][:1]
        if keys and self._trouble == _UNDER_WAY:
            self.say("")  # an escape would dismiss what was said of itself
        self._dispatch(keys)

    def _dispatch(self, typed: Sequence[Typed]) -> None:
        for one in reversed(typed):
            self._key_order.again(one)

    @property
    def _key_order(self) -> "KeyOrder":
        return cast("TerminalApp", self.app).keys

    @work(group="flow", exit_on_error=False)
    async def _run_flow(self, flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await flow()
        except FAULTS as error:
            self.say(str(error), bad=True)
        finally:
            self._busy = False
            self._opens_no_form()

    def _opens_a_screen(self, typed: Typed) -> bool:
        bound = self.active_bindings.get(typed.key) if isinstance(typed, events.Key) else None
        return bound is not None and (bound.binding.id or "").startswith("screen.")


class ChangingScreen(BesideScreen):
    """A screen that changes the rollout file too; its changes and home's exclude each other."""

    def __init__(self, session: "Session") -> None:
        super().__init__()
        self._session = session

    def change_made(self, done: Done) -> None:
        """Report what was done, here and on the home screen."""
        self._session.changed(done)
        if self.is_attached:
            self.say(f"done: {done.plan.effect}")

    def change_refused(self, sentence: str) -> None:
        """Report why nothing was done; where this screen was left, the others have it."""
        if self.is_attached:
            self.say(sentence, bad=True)
