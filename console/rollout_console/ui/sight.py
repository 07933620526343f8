"""Whether what is shown was seen before a key was typed, as the key is meant for nothing else."""

from math import inf
from time import monotonic
from typing import Any

from textual.screen import Screen

from rollout_console.ui.loop_time import LoopTime
from rollout_console.ui.status_report import Shown


class Sight:
    """What a screen shows since ``begin``: for a grace period, and as its terminal reports.

    A terminal that does not report its status is taken to show at once what is written.
    """

    def __init__(self, screen: Screen[Any]) -> None:
        self._screen = screen
        self.grace: LoopTime | None = None
        """The grace period; None before ``begin``."""
        self._shown: Shown | None = None

    def begin(self, grace_s: float) -> None:
        """Begin anew, as something else is shown; ``grace_s`` is in seconds."""
        if self.grace is not None:
            self.grace.stop()
        self.grace = LoopTime(grace_s)
        self._shown = None
        self._screen.call_after_refresh(self._ask)

    def _ask(self) -> None:
        """Ask the terminal whether it shows this, behind what was written to draw it."""
        reports = getattr(self._screen.app, "status_reports", None)
        if self._shown is None and self._screen.is_current:
            self._shown = Shown(-inf) if reports is None else reports.ask()

    @property
    def is_ready(self) -> bool:
        """Whether the grace period is over, and the terminal shows it."""
        return monotonic() >= self._since

    @property
    def is_seen(self) -> bool:
        """Whether the key that is handled was typed when it was ready."""
        keys = getattr(self._screen.app, "keys", None)
        waited_s = 0.0 if keys is None else keys.waited_s
        return monotonic() - waited_s >= self._since

    @property
    def is_unanswered(self) -> bool:
        """Whether the terminal has yet to report that it shows it."""
        return self._shown is not None and self._shown.at == inf

    @property
    def _since(self) -> float:
        """Since when, as time.monotonic has it, a key is meant for what is shown."""
        if self.grace is None or self._shown is None:
            return inf
        return max(self.grace.over_at, self._shown.at)
