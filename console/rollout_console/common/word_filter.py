"""A typed filter: words that must all be in a text, or with a leading ``!`` must not."""

from collections.abc import Iterable

import msgspec


class WordFilter(msgspec.Struct, frozen=True):
    """The words of a filter, case-folded; one without words passes everything."""

    words: tuple[str, ...] = ()
    inverted: bool = False

    @classmethod
    def of(cls, text: str) -> "WordFilter":
        """Return what a typed filter asks for."""
        text = text.strip().casefold()
        words = text.removeprefix("!").split()
        return cls(tuple(words), text.startswith("!") and bool(words))

    def passes(self, parts: Iterable[str]) -> bool:
        """Return whether every word is in one of the parts of a text; inverted, whether not."""
        if not self.words:
            return True
        text = "\n".join(parts).casefold()
        return all(word in text for word in self.words) != self.inverted
