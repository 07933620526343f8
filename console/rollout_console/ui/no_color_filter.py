"""NO_COLOR: no colour codes at all. Textual's own filter writes shades of grey in their place."""

from collections.abc import Sequence
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter, Monochrome, NoColor

_STANDS_OUT = 0.1
"""Difference of brightness (0 to 1) from which on a background is a highlight of its widget's."""
_REVERSED = Style(reverse=True)


def coloured(filters: Sequence[LineFilter]) -> list[LineFilter]:
    """Return Textual's filters without those of NO_COLOR, which it takes for set when empty."""
    return [one for one in filters if not isinstance(one, (Monochrome, NoColor))]


class NoColourFilter(LineFilter):
    """Removes the colours; a highlight (cursor, selection, scroll bar) becomes reverse video."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments without colours; ``background`` is the widget's own."""
        return [
            segment
            if segment.style is None
            else Segment(segment.text, _plain(segment.style, background), segment.control)
            for segment in segments
        ]


@lru_cache(maxsize=4096)
def _plain(style: Style, background: Color) -> Style:
    plain = style.without_color
    if style.meta:
        plain += Style(meta=style.meta)  # what a click does
    colour = style.bgcolor
    if colour is None or colour.is_default or style.reverse:
        return plain
    brightness = Color.from_rich_color(colour).brightness
    return plain + _REVERSED if abs(brightness - background.brightness) > _STANDS_OUT else plain
