"""One line of text that is drawn again only when it says something else."""

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
        """Show the pieces, each a text and a style such as ``$error``; a text may be anybody's."""
        if pieces == self._given:
            return
        self._given = pieces
        self._said = tuple((visible(text), style) for text, style in pieces)
        self.update(Content.assemble(*self._said), layout=False)

    @property
    def text(self) -> str:
        """What is shown, without styles."""
        return "".join(text for text, _ in self._said)
