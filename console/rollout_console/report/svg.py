"""The charts of an incident as an SVG: bad requests, requests a second and p95, both sides."""

from collections.abc import Callable, Iterator, Sequence
from xml.sax.saxutils import escape

from rollout_console.charts.line_chart import nice_top
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import WORDS, limit_of
from rollout_console.health.windows.summary import Summary
from rollout_console.report.counting import SIDES
from rollout_console.report.incident import Incident
from rollout_console.report.markdown import SIDE_NAMES, bad_in
from rollout_console.report.timeline import Moment, clock, timeline
from rollout_gate.secret import redacted

MARK = "rollout-console incident report"
"""What every one of these files has in it, to tell an earlier report from another picture."""
_WIDTH, _LEFT, _RIGHT, _TOP = 960, 70, 20, 84
_PANEL, _GAP, _BOTTOM = 150, 44, 4
_INK, _DIM, _GRID = "#1f2328", "#59636e", "#d1d9e0"
_COLORS = {"tokenlab": "#0969da", "previous": "#8250df"}
_DASHES = {"tokenlab": "", "previous": "6 3"}
_MARKS = {"A": "#bc4c00", "B": "#cf222e", "C": "#cf222e", "D": "#1a7f37", "~": "#59636e"}
_MARK_WORDS = {
    "A": "first bad request", "B": "alert", "C": "rollback", "D": "last TokenLab request",
    "~": "other change",
}  # fmt: skip
_MOST_MARKS = 60

Values = list[tuple[float, float]]


def as_svg(incident: Incident) -> str:
    """Return the picture; it has no script, no link and no font of its own."""
    return "\n".join(_Picture(incident).lines()) + "\n"


class _Picture:
    def __init__(self, incident: Incident) -> None:
        self._incident = incident
        figures, shown = incident.figures, incident.charted
        self._begin, self._end, self._step = shown.begin, shown.end, figures.step_s
        self._sides = {
            side: [
                one for one in figures.steps(side) if self._begin - self._step < one[0] < self._end
            ]
            for side in SIDES
        }

    def lines(self) -> Iterator[str]:
        incident = self._incident
        height = _TOP + 3 * (_PANEL + _GAP) + _BOTTOM
        title = f"{redacted(incident.scope.words)}, {clock(incident.during.begin, day=True)}"
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" '
            f'role="img">'
        )
        yield f"<title>{_safe(title)}</title>"
        yield f"<desc>{MARK}</desc>"
        yield f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
        yield _text(_LEFT, 24, f"Incident of {title}", size=16, weight="bold")
        yield from self._legend()
        signal = next(iter(incident.signals), "gateway")
        limit = 100 * limit_of(incident.limits, signal)
        charts: Sequence[tuple[str, Callable[[Summary], float | None], float, str]] = (
            ("bad requests, %", _bad_percent, limit, f"limit {limit:.2g}% ({WORDS[signal]})"),
            (
                ("p95 of creates, ms", lambda one: one.p95, 0.0, "")
                if incident.jobs.is_all
                else ("p95, ms", lambda one: one.p95, incident.limits.max_p95_ms, "limit")
            ),
            ("requests a second", lambda one: one.rate_per_s, 0.0, ""),
        )
        for at, (name, value, line, words) in enumerate(charts):
            top = _TOP + at * (_PANEL + _GAP)
            yield from self._panel(top, name, value, line, words)
        yield from self._marks(height)
        yield "</svg>"

    def _legend(self) -> Iterator[str]:
        x = float(_LEFT)
        for side in SIDES:
            yield _line(x, 44, x + 26, 44, _COLORS[side], 2, _DASHES[side])
            yield _text(x + 32, 48, SIDE_NAMES[side])
            x += 110
        for mark in dict.fromkeys(one.mark for one in self._shown()):
            yield _text(x, 48, mark, color=_MARKS[mark], weight="bold")
            yield _text(x + 12, 48, _MARK_WORDS[mark], color=_DIM)
            x += 24 + 6.6 * len(_MARK_WORDS[mark])

    def _panel(
        self,
        top: int,
        name: str,
        value: Callable[[Summary], float | None],
        limit: float,
        words: str,
    ) -> Iterator[str]:
        series = {
            side: [
                (at + self._step / 2, found)
                for at, one in steps
                if (found := value(one)) is not None
            ]
            for side, steps in self._sides.items()
        }
        most = max((found for some in series.values() for _, found in some), default=0.0)
        # A limit far above the values would flatten them: it is only named then.
        drawn = 0 < limit <= max(most * 2, 1e-9) or 0 < limit <= 10
        top_value = nice_top(max(most, limit if drawn else 0.0), 1.0)
        yield _text(_LEFT, top - 8, name, weight="bold")
        for part in (0.0, 0.5, 1.0):
            y = top + _PANEL * (1 - part)
            yield _line(_LEFT, y, _WIDTH - _RIGHT, y, _GRID)
            yield _text(_LEFT - 8, y + 4, f"{top_value * part:,.4g}", color=_DIM, anchor="end")
        if drawn:
            y = top + _PANEL * (1 - limit / top_value)
            yield _line(_LEFT, y, _WIDTH - _RIGHT, y, "#cf222e", 1, "2 3")
            yield _text(_LEFT + 4, y - 4, words, color="#cf222e")
        for side in reversed(SIDES):
            yield from self._curve(series[side], side, top, top_value)
        for at in self._ticks():
            yield _text(self._x(at), top + _PANEL + 16, clock(at), color=_DIM, anchor="middle")

    def _curve(self, values: Values, side: str, top: int, most: float) -> Iterator[str]:
        """Yield a line for each run of steps with requests; a step alone is a dot."""
        runs: list[Values] = []
        for at, value in values:
            if not runs or at - runs[-1][-1][0] > 1.5 * self._step:
                runs.append([])
            runs[-1].append((at, value))
        for run in runs:
            points = [(self._x(at), top + _PANEL * (1 - min(v / most, 1))) for at, v in run]
            if len(points) == 1:
                (x, y) = points[0]
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{_COLORS[side]}"/>'
                continue
            drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            dash = f' stroke-dasharray="{_DASHES[side]}"' if _DASHES[side] else ""
            yield (
                f'<polyline points="{drawn}" fill="none" stroke="{_COLORS[side]}" '
                f'stroke-width="1.8"{dash}/>'
            )

    def _marks(self, height: int) -> Iterator[str]:
        taken = float("-inf")
        for one in self._shown():
            x = self._x(one.at)
            color = _MARKS[one.mark]
            yield _line(x, _TOP - 6, x, height - _BOTTOM - _GAP, color, 1, "4 2")
            shift = 10 if x - taken < 10 else 0  # neighbours do not cover one another's letter
            yield _text(x, _TOP - 10 - shift, one.mark, color=color, weight="bold", anchor="middle")
            taken = x if not shift else taken

    def _shown(self) -> list[Moment]:
        found = [
            one
            for one in timeline(self._incident)
            if one.mark and self._begin <= one.at <= self._end
        ]
        rest = [one for one in found if one.mark == "~"][:_MOST_MARKS]
        return [one for one in found if one.mark != "~" or one in rest]

    def _x(self, at: float) -> float:
        part = (min(max(at, self._begin), self._end) - self._begin) / (self._end - self._begin)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def _ticks(self) -> list[float]:
        span = self._end - self._begin
        steps = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400)
        step = next((one for one in steps if span / one <= 8), steps[-1])
        first = int(self._begin // step + 1) * step
        return [float(at) for at in range(first, int(self._end) + 1, step)]


def _bad_percent(one: Summary) -> float | None:
    return 100 * bad_in(one) / one.judged if one.judged else None


def _line(
    x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1, dash: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    color: str = _INK,
    size: int = 12,
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" font-size="{size}" '
        f'font-weight="{weight}" text-anchor="{anchor}">{_safe(text)}</text>'
    )


def _safe(text: str) -> str:
    return escape(visible(text))
