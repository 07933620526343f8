"""A rollout file's text as lines, with the position of every value, so that one line can be changed
without parsing the others again."""

import msgspec

from rollout_gate.file.positions import Entry, Layout, Path, scan


class Document(msgspec.Struct, frozen=True):
    """The lines of a text (without ``\\n``, with ``\\r``) and the positions of its values.

    The layout stays valid while single lines are replaced in place: only line numbers are used.
    """

    lines: list[str]
    layout: Layout

    @classmethod
    def of(cls, data: bytes) -> "Document":
        """Return the document of a text that is known to be valid TOML."""
        text = data.decode("utf-8")
        return cls(text.split("\n"), scan(text))

    def encode(self) -> bytes:
        """Return the bytes of the text."""
        return "\n".join(self.lines).encode("utf-8")

    def entry(self, path: Path) -> Entry | None:
        """Return the position of a value that is on one line with its key, else None."""
        found = self.layout.entries.get(path)
        if found is None or found.line != found.end_line or found.value_line != found.line:
            return None
        return found

    def with_line(self, number: int, line: str) -> "Document":
        """Return the document with one line replaced."""
        lines = self.lines.copy()
        lines[number] = line
        return Document(lines, self.layout)

    def newline_of(self, number: int) -> str:
        """Return ``\\r`` where the line ends in CRLF, so that a new one can end likewise."""
        return "\r" if self.lines[number].endswith("\r") else ""
