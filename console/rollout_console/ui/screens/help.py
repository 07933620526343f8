"""The help screen, generated from the key table."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from rollout_console.ui.dialogs.base import Dialog
from rollout_console.ui.keymap import (
    APP_KEYS,
    HISTORY_KEYS,
    HOME_KEYS,
    JOB_KEYS,
    LIVE_KEYS,
    MODEL_KEYS,
    MONEY_KEYS,
    ROUTE_KEYS,
    VAULT_KEYS,
)
from rollout_console.ui.screens.home.status import CHANGES_NOTHING, StatusFacts

_WORDS = """\
The rollout file is the switch: applications read it and send each request to TokenLab or to the
previous provider. Rolling back writes to that file and nothing else, so it works without any
network. It latches: nothing but an operator's resume (o, or + on the row) undoes it, and the
percents stay as they were.

guard: ● where a guard runs (rollout-console guard); the console itself acts on nothing.

Verdicts: ok; hold (no raise, with the reason); rollback (evidence of harm).

A raise against a hold asks for a typed reason; a rollback never asks for typing.
"""


_SECTIONS = {
    "home": ("Home", HOME_KEYS),
    "keys": ("Keys", VAULT_KEYS),
    "models": ("Models", MODEL_KEYS),
    "routes": ("Routes", ROUTE_KEYS),
    "live": ("Live", LIVE_KEYS),
    "history": ("History", HISTORY_KEYS),
    "jobs": ("Jobs", JOB_KEYS),
    "money": ("Money", MONEY_KEYS),
}


class HelpScreen(Dialog[None]):
    """Lists the keys of one screen and of all screens, and explains the terms used there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss_help", "Close", show=False)
    ]

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 78; max-width: 100%; max-height: 100%; height: auto;
        border: round $accent; background: $panel; padding: 0 1;
    }
    """

    def __init__(self, context: str, facts: StatusFacts) -> None:
        super().__init__()
        self._of_screen = context
        self._facts = facts

    def compose(self) -> ComposeResult:
        """Yield one line for each key, and the explanation below."""
        pieces: list[tuple[str, str]] = []
        for title, keys in (_SECTIONS[self._of_screen], ("Everywhere", APP_KEYS)):
            pieces.append((f"{title}\n", "bold"))
            for key in keys:
                off = bool(self._facts.why_read_only(key, CHANGES_NOTHING))
                shown = self._facts.keymap.get(key.id, key.shown)
                pieces.append((f"  {shown:<8}", "$foreground 50%" if off else "$accent bold"))
                pieces.append((f"{key.help}{'  (disabled: read-only)' if off else ''}\n", ""))
        # Unwrap each paragraph, so that it is wrapped again to the dialog's width.
        words = [" ".join(one.split()) for one in _WORDS.split("\n\n")]
        pieces.append(("\n" + "\n\n".join((*words, "esc closes this.")), ""))
        with VerticalScroll():
            yield Static(Content.assemble(*pieces))

    def action_dismiss_help(self) -> None:
        """Close the help."""
        self.dismiss(None)
