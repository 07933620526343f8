"""A widget of one chart with its title; rollout_console.charts renders it, ``show`` repaints it."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.geometry import Region
from textual.widget import Widget

from rollout_console.charts.line_chart import Line, render
from rollout_console.ui.widgets.component import component_style


class ChartPanel(Widget):
    """A title line with the newest figures, and the chart below it."""

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
        self._body: tuple[object, Text] | None = None

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

    def render(self) -> Text:
        """Return the title and the chart, sized to the widget."""
        width, height = self.content_size.width, self.content_size.height
        title_style = component_style(self, "chart--title")
        text = Text(self.title_text[:width], title_style, no_wrap=True, overflow="crop", end="")
        if height > 1 and width > 0:
            text = Text("\n", no_wrap=True, overflow="crop", end="").join(
                [text, self._drawn(width, height - 1)]
            )
        return text

    def _drawn(self, width: int, height: int) -> Text:
        """Return the chart, memoized: a new title leaves it as it was."""
        colour = not self.app.no_color and not self._stale
        of = (
            list(self._lines), width, height, self._unit, self._y_range, self._since, colour,
            self._limit, self._marks, self._empty,
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
        body = Text.from_ansi(drawn, no_wrap=True, overflow="crop", end="")
        if self._stale:
            body.stylize("dim")
        self._body = (of, body)
        return body
