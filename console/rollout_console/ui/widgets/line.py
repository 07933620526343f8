"""A widget of one line of text that is repainted only when its content has changed."""

from textual.content import Content
from textual.widgets import Static

from rollout_console.common.safe_text import visible


class TextLine(Static):
    """A line that takes pieces of text, each with a style of the theme."""

    DEFAULT_CSS = """
    TextLine { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's own name
        super().__init__("", id=id, markup=False)
        self._given: tuple[tuple[str, str], ...] = ()
        self._said: tuple[tuple[str, str], ...] = ()

    def say(self, *pieces: tuple[str, str]) -> None:
        """Show pieces of text and style (such as ``$error``); untrusted text is sanitized here."""
        if pieces == self._given:
            return
        self._given = pieces
        self._said = tuple((visible(text), style) for text, style in pieces)
        self.update(Content.assemble(*self._said), layout=False)

    @property
    def text(self) -> str:
        """The text that is shown, without styles."""
        return "".join(text for text, _ in self._said)
