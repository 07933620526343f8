"""A modal dialog that takes no key which was typed before it was seen."""

from textual import events, on
from textual.screen import ScreenResultType

from rollout_console.ui.dialogs.base import Dialog
from rollout_console.ui.sight import Sight

GRACE_S = 0.2
"""Seconds after opening in which keys are ignored: they were typed ahead of the dialog."""


class SeenDialog(Dialog[ScreenResultType]):
    """A dialog whose actions ask ``sight`` whether it was seen before their key was typed.

    A grace period begins when it is in front, also where a dialog above it was closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sight = Sight(self)

    @on(events.Mount)
    @on(events.ScreenResume)
    def _begin_sight(self) -> None:
        self.sight.begin(GRACE_S)
