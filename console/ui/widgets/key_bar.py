"""The footer: the keys that matter now."""

from collections.abc import Callable
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from console.ui.keys import ALL_KEYS, Key

_LAST = ("resume", "charts", "quit")
"""Cut off first where there is no room for all."""


class KeyBar(Widget):
    """One line of keys. What cannot be done now is dimmed; its key says why when pressed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key--key", "key--off"}

    DEFAULT_CSS = """
    KeyBar { height: 1; dock: bottom; background: $panel; color: $foreground; }
    KeyBar > .key--key { color: $accent; text-style: bold; }
    KeyBar > .key--off { color: $foreground 40%; }
    """

    def __init__(self, why_not: Callable[[Key], str], keymap: dict[str, str]) -> None:
        super().__init__()
        self._why_not = why_not
        self._keymap = keymap
        self._shown = ""

    def update_keys(self) -> None:
        """Draw again if what can be done now has changed."""
        now = "".join("x" if self._why_not(key) else "." for key in ALL_KEYS if key.footer)
        if now != self._shown:
            self._shown = now
            self.refresh()

    def render(self) -> Text:
        """Return the keys in their order, as many as fit."""
        on = self.get_component_rich_style("key--key", partial=True)
        off = self.get_component_rich_style("key--off", partial=True)
        line = Text(" ", no_wrap=True, overflow="ellipsis", end="")
        gap = "  " if self.size.width >= 100 else " "
        for key in sorted(ALL_KEYS, key=lambda key: key.id in _LAST):
            if key.footer:
                reason = self._why_not(key)
                line.append(self._keymap.get(key.id, key.shown), off if reason else on)
                line.append(f" {key.footer}{gap}", off if reason else Style.null())
        return line
