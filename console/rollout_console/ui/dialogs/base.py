"""The base of all modal dialogs: one answer each, however many keys are queued for it."""

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """A modal screen whose ``dismiss`` counts once.

    Textual pops whatever screen is on top. A second enter, queued on a slow link, would close the
    screen below the dialog, or end the app where there is none.
    """

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Close the dialog with a result, unless it is closed or below another one."""
        return super().dismiss(result) if self.is_active else AwaitComplete()
