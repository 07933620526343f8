"""Component styles with alpha blending: Textual's own partial rich style drops the alpha."""

from rich.style import Style
from textual.widget import Widget

_FAINT = ("--dim", "--off", "--head")
"""Suffixes of faint styles, rendered as ``dim`` where 16 colours or none allow no blending."""


def component_style(widget: Widget, name: str) -> Style:
    """Return the style of a component class, to be combined with the widget's own."""
    style = widget.get_component_rich_style(name, partial=True)
    if widget.app.no_color or widget.app.current_theme.ansi:
        return style + Style(dim=True) if name.endswith(_FAINT) else style
    styles = widget.get_component_styles(name)
    color = styles.color
    if not styles.has_rule("color") or color.a >= 1:
        return style
    mixed = widget.background_colors[1].blend(color.with_alpha(1.0), color.a)
    return style + Style(color=mixed.rich_color)
