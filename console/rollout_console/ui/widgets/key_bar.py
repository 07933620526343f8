"""The footer: hints for the key bindings of the current screen."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from rollout_console.ui.keymap import Key
from rollout_console.ui.widgets.component import component_style

_SPARED = (
    "charts",
    "sort",
    "screen.money",
    "screen.jobs",
    "screen.history",
    "screen.routes",
    "screen.models",
    "screen.keys",
    "quit",
    "lower",
    "exact",
    "keys.sort",
    "keys.remove",
    "keys.filter",
    "keys.verify",
    "keys.profile",
    "models.tag",
    "models.changed",
    "models.price",
    "models.stage",
    "models.provider",
    "models.category",
    "models.sort",
    "live.event",
    "live.org",
    "live.chart",
    "jobs.sort",
    "jobs.copy",
    "money.sort",
    "money.export",
    "filter",
    "screen.live",
    "palette",
    "undo",
    "raise",
    "rollback.all",
    "rollback.route",
    "live.window",
    "live.route",
    "live.pause",
)
"""Ids of the keys that a narrow footer leaves out, in this order; ``?`` lists them."""


_ONLY_ENABLED = ("resume", "trouble.next")
"""Ids of the keys that are left out while they are disabled: mostly there is nothing for them."""


class KeyBar(Widget):
    """One line of key hints. A disabled key is dimmed; pressed, it reports why it is disabled."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key--key", "key--off"}

    DEFAULT_CSS = """
    KeyBar { height: 1; dock: bottom; background: $panel; color: $foreground; }
    KeyBar > .key--key { color: $accent; text-style: bold; }
    KeyBar > .key--off { color: $foreground 40%; }
    """

    def __init__(
        self, keys: Sequence[Key], why_not: Callable[[Key], str], keymap: dict[str, str]
    ) -> None:
        super().__init__()
        self._keys = keys
        self._why_not = why_not
        self._keymap = keymap
        self._shown = ""

    def update_keys(self) -> None:
        """Repaint if the set of enabled keys has changed."""
        if self._state() != self._shown:
            self.refresh()

    def _state(self) -> str:
        return "".join("x" if self._why_not(key) else "." for key in self._keys if key.footer)

    def render(self) -> Text:
        """Return the keys in their order, as many as fit."""
        self._shown = self._state()
        on = component_style(self, "key--key")
        off = component_style(self, "key--off")
        line = Text(" ", no_wrap=True, overflow="ellipsis", end="")
        gap = "  " if self.size.width >= 116 else " "
        for key in self._fitting(len(gap)):
            reason = self._why_not(key)
            line.append(self._keymap.get(key.id, key.shown), off if reason else on)
            line.append(f" {key.footer}{gap}", off if reason else Style.null())
        return line

    def _fitting(self, gap: int) -> list[Key]:
        """Return the keys that fit into the width: the help, which lists all, to the last."""
        here = f"screen.{getattr(self.screen, 'CONTEXT', 'home')}"
        keys = [
            key
            for key in self._keys
            if key.footer
            and key.id != here
            and not (key.id in _ONLY_ENABLED and self._why_not(key))
        ]
        from_the_end = [key.id for key in reversed(keys) if key.id != "help"]
        for spared in (*_SPARED, *from_the_end):
            shown = (cell_len(self._keymap.get(key.id, key.shown)) for key in keys)
            words = sum(cell_len(key.footer) + 1 + gap for key in keys)
            if 1 + sum(shown) + words - gap <= self.size.width:
                break
            keys = [key for key in keys if key.id != spared]
        return keys
