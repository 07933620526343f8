"""All that screens say in their lines: what is said for a moment may be gone at the next look."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rollout_console.ui.widgets.line import TextLine


class Said:
    """The texts that each line was given, by its id, oldest first."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, str]] = []

    def add(self, name: str, text: str) -> None:
        self._texts.append((name, text))

    def in_line(self, name: str, words: str) -> bool:
        """Return whether a line has had these words."""
        return any(of == name and words in text for of, text in self._texts)


@contextmanager
def everything_said() -> Iterator[Said]:
    """Note what each line of text is given from now on."""
    said, say = Said(), TextLine.say

    def noted(line: TextLine, *pieces: tuple[str, str]) -> None:
        say(line, *pieces)
        said.add(line.id or "", line.text)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TextLine, "say", noted)
        yield said
