"""The home screen's charts of a route of async jobs, in place of those of its latencies.

How long a create took says nothing of an asset: the time is that from a create to its asset.
"""

from collections.abc import Sequence

from rollout_console.charts.line_chart import Line
from rollout_console.common.durations import brief_seconds
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import percent_words
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.widgets.chart_panel import ChartPanel
from rollout_gate.file.model import Side

_FIGURES = {"p50": "asset_p50", "p95": "asset_p95", "p99": "failed"}
"""The figure of jobs in place of a latency's quantile."""
_NAMES = {"p50": "to the asset p50", "p95": "to the asset p95", "p99": "failed jobs"}
_SIDES: tuple[Side, ...] = ("tokenlab", "previous")
_POINTS = 60
_STEP_S = 60


def is_of_jobs(monitor: Monitor, route: str | None, metric: str) -> bool:
    """Return whether a chart shows the jobs of a route in place of a metric of its requests."""
    return metric in _FIGURES and monitor.is_async(route)


def job_titles(monitor: Monitor, route: str, metric: str, now: float) -> tuple[str, ...]:
    """Return a chart's title with the figures of the last hour, in its forms from long to short."""
    tokenlab, previous = (_newest(monitor, route, side, metric, now) for side in _SIDES)
    what = f"{visible(route)} {_NAMES[metric]}"
    return (
        f"─ {what}, 1 h  tokenlab {tokenlab} · previous {previous} ",
        f"{what}, 1 h  {tokenlab} · previous {previous} ",
        f"{_NAMES[metric]} {tokenlab} · prev. {previous} ",
    )


def show_jobs(
    panel: ChartPanel,
    monitor: Monitor,
    route: str,
    metric: str,
    now: float,
    changed_at: Sequence[float],
) -> None:
    """Draw a chart of a route's jobs over the last hour, a point for each minute."""
    first = int(now // _STEP_S) - _POINTS + 1
    theme = panel.app.theme_variables
    lines = []
    for side in _SIDES:
        found = monitor.job_verdicts.series(route, None, side, (first, _STEP_S, _POINTS), now)
        values = found.get(_FIGURES[metric], [None] * _POINTS)
        lines.append(Line(side, values, theme.get(f"chart-{side}", "")))
    places = (int(at // _STEP_S) - first for at in changed_at)
    panel.show(
        job_titles(monitor, route, metric, now),
        lines,
        unit="%" if metric == "p99" else "s",
        since="-1h",
        y_range=(0.0, 10.0),
        limit=monitor.job_limit(route, _FIGURES[metric]),
        marks=tuple(place for place in places if 0 <= place < _POINTS),
        empty="no job ended in this time",
    )


def _newest(monitor: Monitor, route: str, side: Side, metric: str, now: float) -> str:
    ended = monitor.job_verdicts.ended(route, None, side, now)
    if ended is None or not ended.count:
        return "–"
    if metric == "p99":
        return percent_words(ended.failed_percent)
    if not ended.completed:
        return "–"
    return brief_seconds(ended.p50_s if metric == "p50" else ended.p95_s)
