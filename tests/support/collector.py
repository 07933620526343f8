"""Keep garbage collections short, although a test process makes millions of objects for good.

Each full collection visits all objects there are but frozen ones: those of pytest's items and of
the SDKs alone take half a second, every time.
"""

import gc
from collections.abc import Mapping
from time import thread_time

SLOW_S = 0.05
"""Seconds of CPU time of a full collection after which the objects it has left are frozen."""

_freeze = gc.freeze
_began = 0.0
_is_due = False


def begin() -> None:
    """Freeze what was imported and collected; and collect less often from now on.

    An app freezes what it made as well; of the hundreds that are made here each would be kept.
    """
    _freeze()
    gc.set_threshold(100_000, 10, 10)
    gc.enable()
    setattr(gc, "freeze", lambda: None)  # noqa: B010 - mypy refuses the assignment
    gc.callbacks.append(_time)


def freeze() -> None:
    """Collect what is garbage, and have no later collection visit the others."""
    gc.collect()
    _freeze()


def freeze_where_slow() -> None:
    """Freeze, between two tests, where a collection has taken long since the last time."""
    global _is_due
    if _is_due:
        freeze()
        _is_due = False


def _time(phase: str, about: Mapping[str, int]) -> None:
    global _began, _is_due
    if about["generation"] == 2:
        if phase == "start":
            _began = thread_time()
        elif thread_time() - _began > SLOW_S:
            _is_due = True
