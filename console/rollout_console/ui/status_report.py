"""Ask a terminal whether it shows what was written, by DSR: the device status report of ECMA-48.

A terminal answers CSI 5 n with CSI 0 n once it has processed all that was written before. What an
operator types at the sight of a screen comes behind that answer, in the same stream, however slow
the link is; what comes before it was typed without having seen the screen: the link stalls, a
selection halts the terminal's output, a laptop sleeps.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic

from textual.message import Message

from rollout_console.ui.loop_time import LoopTime

QUERY, REPORT = "\x1b[5n", "\x1b[0n"
ANSWERS_WITHIN_S = 5.0
"""Seconds after which a terminal that has answered before is taken for one that does not: another
one may have been attached meanwhile, and a rollback must not wait for it."""


class StatusReport(Message, bubble=False):
    """The terminal has processed all that was written before one query; ``time`` is when."""


class Shown:
    """Since when the terminal shows what was written before a query."""

    def __init__(self, at: float) -> None:
        self.at = at
        """As time.monotonic has it; infinite while that is not known."""
        self._waits: LoopTime | None = None

    def wait(self, then: Callable[[], object]) -> None:
        """Call ``then`` where no answer comes in time."""
        self._waits = LoopTime(ANSWERS_WITHIN_S, then)

    def know(self, at: float) -> None:
        """Note when it was shown, unless that is known."""
        self.at = min(self.at, at)
        if self._waits is not None:
            self._waits.stop()


class StatusReports:
    """The queries that a terminal has not answered yet; it answers them in their order.

    A terminal that has never answered is not waited for. After an answer that did not come it is
    waited for again when all queries are answered: which one an answer belongs to is not known.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        """``write`` writes a control sequence, behind all that was drawn."""
        self._write = write
        self._open = deque[Shown]()
        self._does_answer = False

    def ask(self) -> Shown:
        """Send a query; RuntimeError without an event loop."""
        shown = Shown(inf if self._does_answer else -inf)
        if self._does_answer:
            shown.wait(partial(self._give_up, clear=False))
        self._open.append(shown)
        self._write(QUERY)
        return shown

    def take(self, report: StatusReport) -> None:
        """Note an answer; one that nothing was asked for is ignored."""
        if self._open:
            self._open.popleft().know(report.time)
            self._does_answer = self._does_answer or not self._open

    def ask_anew(self) -> None:
        """Expect no answer to what was asked before: another program may have read it."""
        self._give_up(clear=True)
        self.ask()

    def _give_up(self, *, clear: bool) -> None:
        self._does_answer = False
        for shown in self._open:
            shown.know(monotonic())
        if clear:
            self._open.clear()
