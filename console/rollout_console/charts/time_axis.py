"""Tick labels of a time axis, at round times and never overlapping."""

from collections.abc import Sequence
from datetime import UTC, datetime

_EVERY_S = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_GAP = 4


def time_labels(starts: Sequence[float], window_s: float) -> str:
    """Return one line of UTC labels for columns that begin at these epoch seconds.

    A label begins in the column that its time falls in. Labels have seconds where the window is
    600 seconds or less.
    """
    width = len(starts)
    if not width:
        return ""
    form = "%H:%M:%S" if window_s <= 600 else "%H:%M"
    size = 8 if window_s <= 600 else 5
    a_column_s = window_s / width
    every = next((s for s in _EVERY_S if s / a_column_s >= size + _GAP), _EVERY_S[-1])
    line = [" "] * width
    free = 0
    for column, start in enumerate(starts):
        new = column > 0 and start // every != starts[column - 1] // every
        if (new or start % every == 0) and column >= free and column + size <= width:
            at = datetime.fromtimestamp(start // every * every, UTC)
            line[column : column + size] = at.strftime(form)
            free = column + size + 1
    return "".join(line)
