"""Measure time that the event loop has run, and not time in which it stalled.

A paused VM, a host that swaps or a handler that blocks stops the screen and the handling of keys
alike. Deadlines of the wall clock pass meanwhile, although nothing had its chance: keys were then
dispatched before what they are meant for was there.
"""

import asyncio
from collections.abc import Callable
from math import inf

_STEP_S = 0.05
_LATE = 2.0
"""How many steps may pass before one is late: the loop has stalled, or was never run."""
_MOST_LATE = 2.0
"""How many times the steps needed are made before a late one may be the last: a host that stalls
all the time must end it, too."""


class LoopTime:
    """The seconds that the event loop has run since this was made, up to ``most_s``.

    A step that comes late counts as one, and is not the last: events that came during the stall
    are handled in the step after it, and are of before the end.
    """

    def __init__(self, most_s: float, then: Callable[[], object] | None = None) -> None:
        """``then`` is called once ``most_s`` are over; RuntimeError without an event loop."""
        self.elapsed_s = 0.0
        self.over_at = inf
        """When ``most_s`` were over, as time.monotonic has it; infinite before."""
        self._most_s, self._then = most_s, then
        self._loop = asyncio.get_running_loop()
        self._before = self._loop.time()
        self._steps_left = _MOST_LATE * most_s / _STEP_S
        self._handle = self._loop.call_later(min(_STEP_S, most_s), self._step)

    @property
    def is_over(self) -> bool:
        """Whether the event loop has run for ``most_s``."""
        return self.over_at < inf

    def stop(self) -> None:
        """Measure no further, and call nothing."""
        self._handle.cancel()

    def _step(self) -> None:
        now = self._loop.time()
        is_late = now - self._before > _LATE * _STEP_S
        self.elapsed_s += min(now - self._before, _STEP_S if is_late else _LATE * _STEP_S)
        self._before = now
        self._steps_left -= 1
        left = self._most_s - self.elapsed_s
        if is_late and self._steps_left > 0:
            left = max(left, _STEP_S)
        if left > 0:
            self._handle = self._loop.call_later(min(_STEP_S, left), self._step)
            return
        self.over_at = now
        if self._then is not None:
            self._then()
