"""Render the live screen's charts as cells: series, markers, time axis and time cursor."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from rollout_console.charts.line_chart import Line, render, tick_text
from rollout_console.charts.stacked import stacked
from rollout_console.charts.time_axis import time_labels
from rollout_console.common.durations import brief_seconds
from rollout_console.health.log.record import StatusClass
from rollout_console.ui.screens.live.events import Event, gravest
from rollout_console.ui.screens.live.figures import Frame
from rollout_console.ui.widgets.cell_view import Cell, cells_of, padded
from rollout_gate.file.model import Side

CHARTS = ("errors", "latency", "classes", "rate", "answers", "first", "speed")
JOB_CHARTS = ("jobs", "asset", "errors", "classes", "rate", "latency")
"""Those of a route of async jobs: what its requests tell of the jobs is little."""
LEAST_TOP: Mapping[str, float] = {
    "errors": 2.0, "latency": 100.0, "rate": 1.0, "classes": 4.0, "answers": 2.0, "first": 100.0,
    "speed": 10.0, "jobs": 10.0, "asset": 10.0,
}  # fmt: skip
"""The least top of each chart's y axis, in the unit of its title; of ``classes`` it is requests."""
GUTTER = 6
"""Cells left of a chart for the labels of its y axis, equal for all so that columns align."""
AXIS_ROWS = 2
LEAST_ROWS = 6


_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE = "⠒"
_SIGN_STYLES = {"↩": "warn", "!": "bad", "↻": "good", "↓": "warn", "↑": "good", "~": "dim"}


class _Series(msgspec.Struct, frozen=True):
    """One line of a chart: its side and metric, its name in the title, its marker and style.

    The first series of a chart has no marker: it is drawn in braille, on top of the others.
    """

    side: Side
    metric: str
    name: str
    marker: str
    style: str


_LINES: Mapping[str, Sequence[_Series]] = {
    "errors": (
        _Series("tokenlab", "5xx", "tokenlab 5xx", "", "bad"),
        _Series("tokenlab", "4xx", "4xx", "x", "warn"),
        _Series("tokenlab", "429", "429", "+", "warn"),
        _Series("previous", "5xx", "prev. 5xx", "•", "previous"),
        _Series("previous", "4xx", "4xx", "·", "previous"),
    ),
    "latency": (
        _Series("tokenlab", "p95", "tokenlab p95", "", "tokenlab"),
        _Series("tokenlab", "p99", "p99", "x", "tokenlab"),
        _Series("tokenlab", "p50", "p50", "o", "tokenlab"),
        _Series("previous", "p95", "previous p95", "•", "previous"),
    ),
    "rate": (
        _Series("tokenlab", "rate", "tokenlab", "", "tokenlab"),
        _Series("previous", "rate", "previous", "•", "previous"),
    ),
    "answers": (
        _Series("tokenlab", "bad", "tokenlab cut or empty", "", "bad"),
        _Series("tokenlab", "repeated", "retries", "x", "warn"),
        _Series("previous", "bad", "prev. cut or empty", "•", "previous"),
        _Series("previous", "repeated", "retries", "·", "previous"),
    ),
    "first": (
        _Series("tokenlab", "ttft", "tokenlab p95", "", "tokenlab"),
        _Series("previous", "ttft", "previous p95", "•", "previous"),
    ),
    "speed": (
        _Series("tokenlab", "tokens", "tokenlab", "", "tokenlab"),
        _Series("previous", "tokens", "previous", "•", "previous"),
    ),
    "jobs": (
        _Series("tokenlab", "failed", "tokenlab failed", "", "bad"),
        _Series("tokenlab", "late", "late", "x", "warn"),
        _Series("previous", "failed", "prev. failed", "•", "previous"),
        _Series("previous", "late", "late", "·", "previous"),
    ),
    "asset": (
        _Series("tokenlab", "asset_p95", "tokenlab p95", "", "tokenlab"),
        _Series("tokenlab", "asset_p50", "p50", "o", "tokenlab"),
        _Series("previous", "asset_p95", "prev. p95", "•", "previous"),
        _Series("previous", "asset_p50", "p50", "·", "previous"),
    ),
}
_TIGHT = ("4xx", "429", "retries", "late")
"""Names in a title that follow their side's first one closely."""
_LIMITED = {"jobs": "failed", "asset": "asset_p95"}
"""The figure of a chart whose limit is a rule across it."""
_TITLES = {
    "errors": "errors %", "latency": "latency ms", "rate": "requests a second",
    "answers": "answers %", "first": "first token ms", "speed": "tokens a second",
    "jobs": "jobs %", "asset": "create to asset s",
}  # fmt: skip
CLASSES = (
    (StatusClass.GATEWAY, "5xx", "█", "bad"),
    (StatusClass.RATE_LIMIT, "429", "▓", "warn"),
    (StatusClass.BALANCE, "balance", "▚", "accent"),
    (StatusClass.AUTH, "auth", "▒", "tokenlab"),
    (StatusClass.CONTRACT, "4xx", "░", "previous"),
    (StatusClass.BAD, "empty", "▞", "warn"),
)
"""Error classes of a stacked column, bottom up: name, fill and style. 4xx is the rest."""


def charts_of(frame: Frame | None) -> Sequence[str]:
    """Return the charts of a frame's subject, in their order."""
    return CHARTS if frame is None or frame.jobs is None else JOB_CHARTS


def highest(chart: str, frame: Frame) -> float:
    """Return the highest value of a chart's series, for the top of its y axis."""
    if chart == "classes":
        columns = zip(*(frame.classes[cls] for cls, *_ in CLASSES), strict=True)
        return max((sum(column) for column in columns), default=0)
    values = (v for one in _LINES[chart] for v in frame.series[one.side, one.metric])
    return max((v for v in values if v is not None), default=0.0)


def value_text(metric: str, value: float | None) -> str:
    """Return a value as the titles and the line of figures show it."""
    if value is None:
        return "–"
    if metric in ("asset_p50", "asset_p95"):
        return brief_seconds(value)
    if metric in ("5xx", "4xx", "429", "bad", "repeated", "completed", "failed", "late", "refused"):
        return f"{value:.1f}%" if value < 99.95 else "100%"
    return f"{value:.1f}" if metric == "rate" else f"{value:.0f}"


def draw_charts(
    names: Sequence[str],
    frame: Frame,
    tops: Mapping[str, float],
    events: Mapping[int, Sequence[Event]],
    size: tuple[int, int],
    index: int | None,
    *,
    stale: bool,
) -> list[list[Cell]]:
    """Return the charts stacked vertically, and below them the time axis with event markers.

    ``size`` is width and height in cells, ``tops`` has the top of each y axis, ``index`` is the
    grid point of the time cursor. ``stale`` dims everything but the cursor.
    """
    width, height = size
    columns = frame.grid.columns(max(width - GUTTER, 1))
    each, more = divmod(max(height - AXIS_ROWS, 0), max(len(names), 1))
    rows: list[list[Cell]] = []
    for place, name in enumerate(names):
        plot = each + (place < more) - 1
        rows.append(padded(_title(name, frame, index), width))
        rows += _plot(name, frame, tops[name], columns, plot)
    rows += _axis(frame, events, columns)
    if index is not None:
        _draw_cursor(rows, columns, index)
    if stale:
        rows = [
            [(char, "dim" if style != "cursor" else style) for char, style in row] for row in rows
        ]
    return rows[:height]


def _title(name: str, frame: Frame, index: int | None) -> list[Cell]:
    if name == "classes":
        pieces = [(f"tokenlab errors in {_step_text(frame.grid.step)}", "title")]
        for cls, word, fill, style in CLASSES:
            pieces += [(f"  {fill}", style), (f" {word} {frame.count(cls, index)}", "")]
        return cells_of(pieces)
    title = "its creates' ms" if name == "latency" and frame.jobs is not None else _TITLES[name]
    pieces = [(title, "title")]
    if name == "jobs":  # what is left of 100%: drawn, it would flatten the others
        done = value_text("completed", frame.value("tokenlab", "completed", index))
        pieces.append((f"  done {done.removesuffix('%')}", ""))
    for one in _LINES[name]:
        value = value_text(one.metric, frame.value(one.side, one.metric, index))
        # Omit the unit, which the title has: five values must fit in 79 columns.
        value = value.removesuffix("%")
        tight = one.name in _TIGHT or (name == "asset" and one.name == "p50")
        gap = " " if tight else "  "
        pieces += [(f"{gap}{one.marker or _LINE}", one.style), (f" {one.name} {value}", "")]
    limit = frame.limits.get(_LIMITED.get(name, ""))
    if limit is not None:
        pieces.append((f"  limit {limit:g}", "dim"))
    return cells_of(pieces)


def _step_text(step: int) -> str:
    return f"{step} s" if step < 120 else f"{step // 60} m"


def _plot(
    name: str, frame: Frame, top: float, columns: Sequence[range], height: int
) -> list[list[Cell]]:
    width = GUTTER + len(columns)
    if name == "classes":
        return _plot_classes(frame, top, columns, height)
    lines = [
        Line(one.name, _by_column(frame.series[one.side, one.metric], columns), "", one.marker)
        for one in _LINES[name]
    ]
    if not any(value is not None for line in lines for value in line.values):
        seen = any(summary.requests for summary in frame.whole.values())
        words = "not measured by any request in this time" if seen else _no_requests(frame)
        if name in _LIMITED:
            words = "no job ended in this time"
        return _nothing(words, width, height)
    drawn = render(
        lines, width=width, height=height, y_max=top, x_labels=None, color=False, gutter=GUTTER,
        limit=frame.limits.get(_LIMITED.get(name, "")),
    )  # fmt: skip
    styles = {one.marker: one.style for one in _LINES[name]}
    rows = []
    for line in drawn.split("\n"):
        text = _ANSI.sub("", line)
        cells: list[Cell] = [(char, "dim") for char in text[:GUTTER]]
        for char in text[GUTTER:]:
            cells.append((char, styles[""] if "⠀" < char <= "⣿" else styles.get(char, "")))
        rows.append(padded(cells, width))
    return rows


def _no_requests(frame: Frame) -> str:
    return frame.reading_words if frame.reads_older else "no requests in this time"


def _plot_classes(
    frame: Frame, top: float, columns: Sequence[range], height: int
) -> list[list[Cell]]:
    width = GUTTER + len(columns)
    counts = [_highest_column(frame, points) for points in columns]
    if not any(sum(one) for one in counts):
        requests = frame.whole["tokenlab"].requests
        words = "no errors in this time" if requests else _no_requests(frame)
        return _nothing(words, width, height)
    fills = "".join(fill for _, _, fill, _ in CLASSES)
    styles = {fill: style for _, _, fill, style in CLASSES}
    ticks = {0: top, height - 1: 0.0}
    rows = []
    for place, text in enumerate(stacked(counts, fills, height, top)):
        label = tick_text(ticks[place], top) + "┤" if place in ticks else "│"
        cells: list[Cell] = [(char, "dim") for char in label.rjust(GUTTER)[-GUTTER:]]
        rows.append([*cells, *((char, styles.get(char, "")) for char in text)])
    return rows


def _nothing(words: str, width: int, height: int) -> list[list[Cell]]:
    rows = [padded(cells_of([("│".rjust(GUTTER), "dim")]), width) for _ in range(height)]
    if rows:
        middle = cells_of([("│".rjust(GUTTER), "dim"), (f"  {words}", "dim")])
        rows[height // 2] = padded(middle, width)
    return rows


def _by_column(values: Sequence[float | None], columns: Sequence[range]) -> list[float | None]:
    """Downsample by maximum: each column shows the highest of its points."""
    return [
        max((v for i in points if (v := values[i]) is not None), default=None) for points in columns
    ]


def _highest_column(frame: Frame, points: range) -> list[int]:
    each = [[frame.classes[cls][i] for cls, *_ in CLASSES] for i in points]
    return max(each, key=sum, default=[0] * len(CLASSES))


def _axis(
    frame: Frame, events: Mapping[int, Sequence[Event]], columns: Sequence[range]
) -> list[list[Cell]]:
    width = len(columns)
    marks: list[Cell] = [("─", "dim")] * width
    for column, points in enumerate(columns):
        some = [event for i in points for event in events.get(i, ())]
        # A point that spans several columns has its marker in the first.
        if some and (column == 0 or columns[column - 1] != points):
            sign = gravest(some)
            marks[column] = (sign, _SIGN_STYLES[sign])
    labels = time_labels([frame.grid.at(points.start) for points in columns], frame.window_s)
    return [
        [*cells_of([("└".rjust(GUTTER), "dim")]), *marks],
        padded(cells_of([("UTC ".rjust(GUTTER), "dim"), (labels, "dim")]), GUTTER + width),
    ]


def _draw_cursor(rows: list[list[Cell]], columns: Sequence[range], index: int) -> None:
    column = next((c for c, points in enumerate(columns) if index in points), None)
    if column is None:
        return
    for row in rows[:-1]:
        if row[GUTTER - 1][0] in "┤│└":
            char = row[GUTTER + column][0]
            row[GUTTER + column] = ("│" if char == " " else char, "cursor")
