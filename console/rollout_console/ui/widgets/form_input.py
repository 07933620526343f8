"""An input of a form: enter moves on at once, and keys typed ahead of that follow the focus."""

from collections.abc import Callable

from textual import events
from textual.widgets import Input


class FormInput(Input):
    """An input whose enter is handled before the key events that are already queued behind it.

    On a slow link a value, enter and the next value arrive together. Textual runs the binding of
    enter after three hops between message queues: the next value would become part of this one.
    """

    def __init__(self, value: str, entered: Callable[[Input], None], **options: object) -> None:
        super().__init__(value, **options)  # type: ignore[arg-type]
        self._entered = entered

    def on_key(self, event: events.Key) -> None:
        """Handle enter, and pass on what is meant for the input that has the focus by now."""
        focused = self.screen.focused
        follows = focused if focused is not self and isinstance(focused, FormInput) else None
        if follows is None and event.key != "enter":
            return
        event.stop()
        event.prevent_default()
        if follows is not None:
            follows.post_message(events.Key(event.key, event.character))
        else:
            self._entered(self)
