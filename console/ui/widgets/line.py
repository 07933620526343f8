"""One line of text that is drawn again only when it says something else."""

from textual.content import Content
from textual.widgets import Static


class TextLine(Static):
    """A line that takes pieces of text, each with a style of the theme."""

    DEFAULT_CSS = """
    TextLine { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's own name
        super().__init__("", id=id, markup=False)
        self._said: tuple[tuple[str, str], ...] = ()

    def say(self, *pieces: tuple[str, str]) -> None:
        """Show the pieces, each a text already made visible and a style such as ``$error``."""
        if pieces == self._said:
            return
        self._said = pieces
        self.update(Content.assemble(*pieces), layout=False)

    @property
    def text(self) -> str:
        """What is shown, without styles."""
        return "".join(text for text, _ in self._said)
