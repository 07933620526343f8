"""A series as a sparkline: one block character for each value."""

from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], top: float) -> str:
    """Return one cell for each value, on a scale from 0 to ``top``; None is a blank.

    A value above 0 never looks like 0: what is small against the top is still there.
    """
    return "".join(" " if value is None else _LEVELS[_level(value, top)] for value in values)


def _level(value: float, top: float) -> int:
    if value <= 0 or top <= 0:
        return 0
    return min(max(round(value / top * (len(_LEVELS) - 1)), 1), len(_LEVELS) - 1)
