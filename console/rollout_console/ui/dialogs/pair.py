"""A modal dialog that shows one prompt's two answers side by side, to be judged."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from rollout_console.common.safe_text import visible
from rollout_console.readiness.shadow import Mark, Pair, facts_of
from rollout_console.tokenlab.probe import Probe
from rollout_console.ui.dialogs.seen import SeenDialog

_MOST_PROMPT = 600


class PairDialog(SeenDialog[Mark | None]):
    """Dismisses with the judgement of TokenLab's answer, or None to stop judging."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "judge('better')", "Better", show=False),
        Binding("s", "judge('same')", "Same", show=False),
        Binding("w", "judge('worse')", "Worse", show=False),
        Binding("escape,q", "stop", "Stop", show=False),
    ]

    DEFAULT_CSS = """
    PairDialog { align: center middle; }
    PairDialog > Vertical {
        width: 100%; height: 100%; border: round $accent; background: $panel; padding: 0 1;
    }
    PairDialog .prompt { text-style: bold; max-height: 4; }
    PairDialog Horizontal { height: 1fr; }
    PairDialog VerticalScroll { width: 1fr; height: 100%; padding: 0 1 0 0; }
    PairDialog .facts { color: $accent; margin: 0 0 1 0; }
    """

    def __init__(self, pair: Pair, number: int, count: int) -> None:
        super().__init__()
        self._pair = pair
        self._title = f"{number} of {count}"

    def compose(self) -> ComposeResult:
        """Yield the prompt, both answers with their facts, and the key hints."""
        pair = self._pair
        prompt = visible(pair.prompt[:_MOST_PROMPT].replace("\n", " "))
        with Vertical():
            yield Static(Content(f"{self._title}: {prompt}"), classes="prompt")
            with Horizontal():
                yield from _side(f"TokenLab: {facts_of(pair.tokenlab, pair.cost)}", pair.tokenlab)
                yield from _side(f"previous: {facts_of(pair.previous)}", pair.previous)
            yield Static("TokenLab's is   b: better   s: the same   w: worse   esc: stop judging")

    def action_judge(self, mark: Mark) -> None:
        """Dismiss with the judgement, but not of what was not seen."""
        if self.sight.is_seen:
            self.dismiss(mark)

    def action_stop(self) -> None:
        """Dismiss with None, to stop judging."""
        self.dismiss(None)


def _side(facts: str, one: Probe) -> ComposeResult:
    with VerticalScroll():
        yield Static(Content(visible(facts)), classes="facts")
        text = "\n".join(visible(line) for line in one.text.split("\n"))
        yield Static(Content(text))
