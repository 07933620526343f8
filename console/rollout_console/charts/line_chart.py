"""Line charts as text: the only module that uses plotext.

plotext 5 keeps its figure in global state, which is reset for each chart; charts are drawn one at
a time, on the event loop's thread.
"""

from collections.abc import Sequence
from math import isfinite, log10
from typing import NamedTuple

import msgspec

_LEAST_WIDTH, _LEAST_HEIGHT = 14, 4
_MOST = 1e12
_MARKERS = ("braille", "dot")
_LIMIT, _MARK = "┄", "┊"


class Line(msgspec.Struct, frozen=True):
    """One series: values oldest first, None for a gap; ``color`` is ``#rrggbb`` or a name.

    ``marker`` is plotext's marker to draw it with, in place of the default for its position.
    """

    label: str
    values: Sequence[float | None]
    color: str = ""
    marker: str = ""


class _Rules(NamedTuple):
    limit: float | None
    marks: Sequence[int]


def render(
    lines: Sequence[Line],
    *,
    width: int,
    height: int,
    y_min: float = 0.0,
    y_max: float | None = None,
    unit: str = "",
    x_labels: tuple[str, str] | None = ("-5m", "now"),
    color: bool = True,
    gutter: int = 0,
    limit: float | None = None,
    marks: Sequence[int] = (),
    empty: str = "no requests in this time",
) -> str:
    """Return a chart of exactly ``height`` lines, each at most ``width`` cells, as ANSI text.

    ``y_min`` and ``y_max`` are the least extent of the y axis; its top is rounded unless
    ``y_min`` is above 0. Lines differ by marker as well as by colour. ``gutter`` is a fixed
    width in cells for the y labels, which aligns charts above each other: each value then has a
    column of its own if there are as many. ``limit`` is drawn as a horizontal rule where the
    axis reaches it, ``marks`` are the positions of values at which something was changed, each
    a vertical rule. Without ``x_labels`` there is no line for them. Never raises: a chart that
    is too small is blank, and one without values says ``empty``.
    """
    if width <= 0 or height <= 0:
        return ""
    if width < _LEAST_WIDTH or height < _LEAST_HEIGHT:
        return "\n".join([" " * width] * height)
    prepared = [(line, _columns(line.values, width)) for line in lines]
    known = [v for _, values in prepared for v in values if v is not None]
    top = nice_top(max([y_min, *known]), y_max) if y_min <= 0 else max([*known, y_max or y_min])
    if not known:
        message = empty[:width]
        return "\n".join([message.ljust(width), *[" " * width] * (height - 1)])
    y_min = min([y_min, *known])
    extent = (y_min, max(top, y_min + 1e-6))
    rules = _Rules(limit if limit is not None and limit <= extent[1] else None, marks)
    return _plot(prepared, width, height, extent, x_labels, color, gutter, rules)


def _columns(values: Sequence[float | None], width: int) -> list[float | None]:
    """Downsample to at most two points a column, each the maximum of its group; clamp values."""
    clean = [min(max(v, -_MOST), _MOST) if v is not None and isfinite(v) else None for v in values]
    most = max(2 * width, 2)
    if len(clean) <= most:
        return clean
    groups = [clean[i * len(clean) // most : (i + 1) * len(clean) // most] for i in range(most)]
    return [max((v for v in group if v is not None), default=None) for group in groups]


def nice_top(highest: float, least: float | None) -> float:
    """Round the top of the axis up to a nice number, so that it does not change with every value.

    The result is at least ``least``.
    """
    wanted = max(highest, least or 0.0, 1e-9)
    power = 10.0 ** int(log10(wanted) - (wanted < 1))
    for factor in (1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20):
        if factor * power >= wanted * 0.9999:
            return factor * power
    return wanted


def _plot(
    prepared: Sequence[tuple[Line, Sequence[float | None]]],
    width: int,
    height: int,
    extent: tuple[float, float],
    x_labels: tuple[str, str] | None,
    color: bool,
    gutter: int,
    rules: _Rules,
) -> str:
    import plotext as plt  # lazy: the import takes 50 ms, which would delay the first screen

    y_min, y_max = extent
    plt.clf()
    plt.limitsize(False, False)
    plt.plotsize(width, height)
    plt.theme("clear")
    plt.frame(False)
    plt.xaxes(x_labels is not None, False)
    plt.yaxes(True, False)
    count = max(len(values) for _, values in prepared)
    plt.xlim(0, max(count - 1, 1))
    plt.ylim(y_min, y_max)
    middle = (y_min + y_max) / 2
    ticks = [y_min, middle, y_max] if height >= 6 else [y_min, y_max]
    plt.yticks(ticks, [tick_text(v, y_max - y_min).rjust(gutter - 1) for v in ticks])
    plt.xticks([0, max(count - 1, 1)] if x_labels else [], list(x_labels or ()))
    for x in rules.marks:
        plt.plot([x, x], [y_min, y_max], marker=_MARK)
    if rules.limit is not None:
        plt.plot([0, max(count - 1, 1)], [rules.limit, rules.limit], marker=_LIMIT)
    # Draw in reverse order, so that the first line, which matters most, is on top.
    for index in range(len(prepared) - 1, -1, -1):
        line, values = prepared[index]
        for xs, ys in _runs(values):
            options = {"marker": line.marker or _MARKERS[min(index, len(_MARKERS) - 1)]}
            if color and line.color:
                plt.plot(xs, ys, color=_color(line.color), **options)
            else:
                plt.plot(xs, ys, **options)
    drawn = str(plt.build()).split("\n")
    drawn = drawn[:height] + [""] * (height - len(drawn))
    return "\n".join(drawn)


def _runs(values: Sequence[float | None]) -> list[tuple[list[int], list[float]]]:
    """Split a series at its gaps into runs of x and y values, so that gaps are not drawn over."""
    runs: list[tuple[list[int], list[float]]] = []
    open_run = False
    for index, value in enumerate(values):
        if value is None:
            open_run = False
            continue
        if not open_run:
            runs.append(([], []))
            open_run = True
        runs[-1][0].append(index)
        runs[-1][1].append(value)
    return runs


def _color(color: str) -> str | tuple[int, int, int]:
    if color.startswith("#") and len(color) == 7:
        return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
    return color.removeprefix("ansi_").removeprefix("bright_")


def tick_text(value: float, span: float) -> str:
    """Format the tick label of a value on an axis with the given ``span``."""
    if value >= 100 and span < 20:
        return f"{value:.2f}"
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.2g}" if value < 1 else f"{value:.1f}"
