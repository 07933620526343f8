"""The home screen's chart grid: which charts are visible, where, and their data."""

from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Grid

from rollout_console.charts.line_chart import Line
from rollout_console.common.safe_text import visible
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.health.windows.summary import Summary
from rollout_console.ui.screens.home.job_charts import is_of_jobs, job_titles, show_jobs
from rollout_console.ui.widgets.chart_panel import ChartPanel
from rollout_gate.file.model import Side

_ALL = ("5xx", "p95", "4xx", "p99", "balance", "p50")
_GRID = ("4xx", "5xx", "balance", "p50", "p95", "p99")
_SIDES: tuple[Side, ...] = ("tokenlab", "previous")
_POINTS = 60
_WINDOW_S = 300.0
_LOG_LAG_S = 1.0
"""The typical delay in seconds between a log record's writing and its reading here."""
_LEAST_AXIS = {"4xx": 2.0, "5xx": 2.0}


class ChartGrid(Grid):
    """Six charts in two rows where there is room, else two at a time."""

    DEFAULT_CSS = """
    ChartGrid { height: 7; grid-size: 2 1; }
    ChartGrid.-six { grid-size: 3 2; height: 16; }
    ChartGrid ChartPanel { display: none; }
    ChartGrid ChartPanel.-on { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's own name
        super().__init__(id=id)
        self._pair = 0
        self._six = False
        self.lines = 7
        self.route: str | None = None

    def compose(self) -> ComposeResult:
        """Yield all six panels; a CSS class makes some of them visible.

        The class is set before they are mounted: afterwards it would style them twice.
        """
        for name in _GRID:
            panel = ChartPanel(name)
            panel.set_class(self._six or name in _ALL[:2], "-on", update=False)
            yield panel

    def fit_to(self, width: int, height: int) -> None:
        """Choose six charts or two for a terminal of this size."""
        self._six = width >= 100 and height >= 34
        self.set_class(self._six, "-six", update=self.is_attached)
        self.lines = max(14, (height * 2) // 5) if self._six else 7 if height < 30 else 10
        self.styles.height = self.lines
        self._choose()

    def next_pair(self) -> None:
        """Show the next pair of charts, where only two fit."""
        self._pair = (self._pair + 1) % 3
        self._choose()

    def _choose(self) -> None:
        on = _ALL if self._six else _ALL[2 * self._pair : 2 * self._pair + 2]
        order = _GRID if self._six else on
        for panel in self.query(ChartPanel):
            panel.set_class(panel.name in on, "-on")
        if not self._six and self.is_mounted:
            self.move_child(
                self.query_one(f"#chart-{order[0]}"), before=self.query_one(f"#chart-{order[1]}")
            )

    def _shown(self) -> Iterator[ChartPanel]:
        for panel in self.children:
            if isinstance(panel, ChartPanel) and panel.has_class("-on"):
                yield panel

    def say(self, monitor: Monitor, now: float) -> None:
        """Bring the figures in the titles up to those of the table; the charts stay."""
        sides = _sides_of(monitor, self.route, now)
        for panel in self._shown():
            if panel.name is not None and panel.name != "balance":
                if is_of_jobs(monitor, self.route, panel.name):
                    panel.say(job_titles(monitor, str(self.route), panel.name, now))
                else:
                    panel.say(_titles_of(sides, panel.name, self.route))

    def show(
        self,
        monitor: Monitor,
        balance: BalanceWatch,
        route: str | None,
        now: float,
        changed_at: Sequence[float] = (),
    ) -> None:
        """Draw the visible charts for one route; ``changed_at`` are the times of its changes."""
        self.route = route
        age = monitor.age_s(now)
        stale = age is None or age > monitor.stale_after_s
        sides = _sides_of(monitor, route, now)
        for panel in self._shown():
            if panel.name == "balance":
                _show_balance(panel, balance, now)
            elif route is not None and panel.name and is_of_jobs(monitor, route, panel.name):
                show_jobs(panel, monitor, route, panel.name, now, changed_at)
            elif panel.name is not None:
                marks = tuple(
                    _position(at, now) for at in changed_at if now - _WINDOW_S < at <= now
                )
                titles = _titles_of(sides, panel.name, route)
                _show_metric(panel, monitor, panel.name, route, now, stale, marks, titles)


def _show_metric(
    panel: ChartPanel,
    monitor: Monitor,
    metric: str,
    route: str | None,
    now: float,
    stale: bool,
    marks: tuple[int, ...],
    titles: tuple[str, ...],
) -> None:
    theme = panel.app.theme_variables
    colours = theme.get("chart-tokenlab", ""), theme.get("chart-previous", "")
    lines = []
    for side, colour in zip(_SIDES, colours, strict=True):
        values = monitor.series(metric, route, side, now, _WINDOW_S, _POINTS)
        lines.append(Line(side, without_begun(values, now), colour))
    panel.show(
        titles,
        lines,
        unit=_unit(metric).strip(),
        y_range=(0.0, _LEAST_AXIS.get(metric)),
        stale=stale,
        limit=monitor.limit_of(route, metric),
        marks=marks,
        empty=monitor.reading_words if _is_reading(monitor) else "no requests in this time",
    )


def without_begun(values: Sequence[float | None], now: float) -> Sequence[float | None]:
    """Leave the newest point out until half of it is over.

    Of the one or two requests that it begins with, a p95 is low and a share of errors 0% or 100%:
    each line would end in a fall or a rise that is always there and never real.
    """
    width_s = _WINDOW_S / _POINTS
    is_half_over = now % width_s - _LOG_LAG_S >= width_s / 2
    return values if is_half_over else [*values[:-1], None]


def _position(at: float, now: float) -> int:
    """Return the position of a time among the values of a chart, which end now."""
    return min(max(round((at - now + _WINDOW_S) * _POINTS / _WINDOW_S) - 1, 0), _POINTS - 1)


def _unit(metric: str) -> str:
    return "%" if metric in ("4xx", "5xx") else " ms"


def _sides_of(monitor: Monitor, route: str | None, now: float) -> list[Summary]:
    return [monitor.summary(route, None, side, now) for side in _SIDES]


def _titles_of(sides: Sequence[Summary], metric: str, route: str | None) -> tuple[str, ...]:
    newest = [_newest(summary, metric) for summary in sides]
    return _titles(f"{visible(route)} {metric}" if route else metric, newest, _unit(metric))


def _titles(what: str, newest: list[str], unit: str) -> tuple[str, ...]:
    """Return the title with the figures of both sides, in its forms from long to short."""
    tokenlab, previous = newest
    return (
        f"─ {what}  tokenlab {tokenlab}{unit} · previous {previous}{unit} ",
        f"{what}  tokenlab {tokenlab} · previous {previous} ",
        f"{what} {tokenlab} · prev. {previous} ",
    )


def _newest(summary: Summary, metric: str) -> str:
    if not summary.requests:
        return "–"
    if metric in ("4xx", "5xx"):
        return f"{summary.percent_4xx if metric == '4xx' else summary.percent_5xx:.1f}"
    value = {"p50": summary.p50, "p95": summary.p95, "p99": summary.p99}[metric]
    return "–" if value is None else f"{value:.0f}"


def _is_reading(monitor: Monitor) -> bool:
    return monitor.behind or monitor.reads_older


def _no_balance(balance: BalanceWatch) -> str:
    if balance.lacks_credential:
        return "needs a management token: 2, then a"
    return "not known" if balance.trouble else "asking for the balance…"


def _show_balance(panel: ChartPanel, balance: BalanceWatch, now: float) -> None:
    latest = balance.latest
    amount = f"{latest[1].balance:,.2f}" if latest else "not known"
    titles = _titles("balance $", [amount, "–"], "")
    values = balance.series(now, 300.0, _POINTS)
    known = [value for value in values if value is not None]
    pad = max(max(known) - min(known), 1.0) / 4 if known else 1.0
    colour = panel.app.theme_variables.get("chart-tokenlab", "")
    panel.show(
        titles,
        [Line("tokenlab", values, colour)],
        y_range=(min(known) - pad, max(known) + pad) if known else (0.0, None),
        stale=latest is None,
        empty=_no_balance(balance),
    )
