"""A widget of one chart with its title; rollout_console.charts renders it, ``show`` repaints it."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from rollout_console.charts.line_chart import Line, render
from rollout_console.ui.widgets.component import component_style

_DIM = Style(dim=True)


class ChartPanel(Widget):
    """A title line with the newest figures, and the chart below it.

    It renders line by line: a new title does not lay out and style the chart again.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"chart--title"}

    DEFAULT_CSS = """
    ChartPanel { height: 1fr; width: 1fr; background: $background; padding: 0 1 0 0; }
    ChartPanel > .chart--title { color: $foreground; text-style: bold; }
    """

    def __init__(self, name: str) -> None:
        super().__init__(id=f"chart-{name}", name=name)
        self._titles: tuple[str, ...] = ("",)
        self._lines: Sequence[Line] = ()
        self._unit = ""
        self._since = ""
        self._y_range: tuple[float, float | None] = (0.0, None)
        self._stale = False
        self._limit: float | None = None
        self._marks: tuple[int, ...] = ()
        self._empty = ""
        self._styles_of: tuple[Style, Style] | None = None
        self._body: tuple[object, list[list[tuple[str, Style]]]] | None = None

    def say(self, titles: tuple[str, ...]) -> None:
        """Show other figures in the title; the chart below it is not drawn anew."""
        if titles != self._titles:
            self._titles = titles
            self.refresh(Region(0, 0, max(self.size.width, 1), 1))

    def show(
        self,
        titles: tuple[str, ...],
        lines: Sequence[Line],
        *,
        unit: str = "",
        since: str = "-5m",
        y_range: tuple[float, float | None] = (0.0, None),
        stale: bool = False,
        limit: float | None = None,
        marks: tuple[int, ...] = (),
        empty: str = "no requests in this time",
    ) -> None:
        """Show these series, if anything differs; ``y_range`` is the least extent of the y axis.

        ``limit`` and ``marks`` (positions of values) are rules across the chart, and ``empty`` is
        said where there is no value. ``titles``
        are the forms of the title, the longest first: which of them fits is not known
        before the panel is laid out.
        """
        new = (titles, list(lines), unit, since, y_range, stale, limit, marks, empty)
        old = (
            self._titles, list(self._lines), self._unit, self._since, self._y_range, self._stale,
            self._limit, self._marks, self._empty,
        )  # fmt: skip
        if new == old:
            return
        self._titles, self._lines, self._unit = titles, lines, unit
        self._since, self._y_range, self._stale = since, y_range, stale
        self._limit, self._marks, self._empty = limit, marks, empty
        self.refresh()

    @property
    def title_text(self) -> str:
        """The title as it is shown: the longest form that fits, with a rule up to the edge."""
        width = self.size.width
        text = next((text for text in self._titles if len(text) < width), self._titles[-1])
        return text + "─" * max(width - len(text) - 1, 0)

    def render_line(self, y: int) -> Strip:
        """Return line ``y`` of the content: the title, or a line of the chart."""
        width, height = self.content_size.width, self.content_size.height
        if self._styles_of is None:
            base = self.rich_style
            self._styles_of = base, base + component_style(self, "chart--title")
        base, title = self._styles_of
        if y == 0:
            segments = [Segment(self.title_text[:width], title)]
        else:
            drawn = self._drawn(width, height - 1) if height > 1 and width > 0 else []
            pieces = drawn[y - 1] if y <= len(drawn) else []
            segments = [Segment(text, base + style) for text, style in pieces]
        return Strip(segments).adjust_cell_length(width, Style(bgcolor=base.bgcolor))

    def notify_style_update(self) -> None:
        """Invalidate the style cache: the theme may have changed."""
        self._styles_of = None
        super().notify_style_update()

    def _drawn(self, width: int, height: int) -> list[list[tuple[str, Style]]]:
        """Return the lines of the chart, memoized: a new title leaves them as they were."""
        colour = not self.app.no_color and not self._stale
        of = (
            list(self._lines), width, height, self._unit, self._y_range, self._since, colour,
            self._stale, self._limit, self._marks, self._empty,
        )  # fmt: skip
        if self._body is not None and self._body[0] == of:
            return self._body[1]
        drawn = render(
            self._lines,
            width=width,
            height=height,
            unit=self._unit,
            y_min=self._y_range[0],
            y_max=self._y_range[1],
            x_labels=(self._since, "now"),
            color=colour,
            limit=self._limit,
            marks=self._marks,
            empty=self._empty,
        )
        dim = _DIM if self._stale else Style.null()
        body = [_pieces(line, dim) for line in drawn.split("\n")]
        self._body = (of, body)
        return body


def _pieces(line: str, dim: Style) -> list[tuple[str, Style]]:
    """Split a line of a chart at its SGR sequences, into texts and their styles."""
    if "\x1b" not in line:
        return [(line, dim)]
    text = Text.from_ansi(line)
    found, at = [], 0
    for start, end, style in text.spans:
        assert isinstance(style, Style)
        found += [(text.plain[at:start], dim), (text.plain[start:end], style + dim)]
        at = end
    found.append((text.plain[at:], dim))
    return [piece for piece in found if piece[0]]
