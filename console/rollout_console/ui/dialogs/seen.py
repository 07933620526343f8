"""A modal dialog that takes no key which was typed before it was seen."""

from math import inf
from time import monotonic

from textual import events, on
from textual.screen import ScreenResultType

from rollout_console.ui.dialogs.base import Dialog
from rollout_console.ui.loop_time import LoopTime
from rollout_console.ui.status_report import Shown

GRACE_S = 0.2
"""Seconds after opening in which keys are ignored: they were typed ahead of the dialog."""


class SeenDialog(Dialog[ScreenResultType]):
    """A dialog with ``is_seen``, for its actions to ask.

    A grace period begins when it is in front, also where a dialog above it was closed. A terminal
    that reports its status must have shown it, too.
    """

    _grace: LoopTime | None = None
    _shown: Shown | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the grace period is over, and the terminal shows the dialog."""
        return monotonic() >= self._ready_at

    @property
    def is_seen(self) -> bool:
        """Whether the key that is handled was typed when the dialog was ready for it."""
        keys = getattr(self.app, "keys", None)
        waited_s = 0.0 if keys is None else keys.waited_s
        return monotonic() - waited_s >= self._ready_at

    @property
    def is_unanswered(self) -> bool:
        """Whether the terminal has yet to report that it shows the dialog."""
        return self._shown is not None and self._shown.at == inf

    @property
    def _ready_at(self) -> float:
        """Since when, as time.monotonic has it, a key is meant for this dialog."""
        if self._grace is None or self._shown is None:
            return inf
        return max(self._grace.over_at, self._shown.at)

    @on(events.Mount)
    @on(events.ScreenResume)
    def _begin_grace(self) -> None:
        if self._grace is not None:
            self._grace.stop()
        self._grace = LoopTime(GRACE_S)
        self._shown = None
        self.call_after_refresh(self._ask_shown)

    def _ask_shown(self) -> None:
        """Ask the terminal whether it shows the dialog, behind what was written to draw it."""
        reports = getattr(self.app, "status_reports", None)
        if self._shown is None and self.is_current:
            self._shown = Shown(-inf) if reports is None else reports.ask()
