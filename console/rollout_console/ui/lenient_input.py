"""Keyboard input that is not UTF-8: a Latin-1 terminal's é, or noise on a serial line."""

import codecs
from functools import partial

from textual.drivers import linux_driver


def accept_any_byte() -> None:
    """Decode such bytes as U+FFFD: Textual's driver decodes strictly, and one byte would end the
    console with a traceback.

    It replaces a name that Textual's module imports; a test checks that Textual still uses it.
    """
    linux_driver.getincrementaldecoder = _replacing  # type: ignore[assignment, attr-defined]


def _replacing(encoding: str) -> partial[codecs.IncrementalDecoder]:
    return partial(codecs.getincrementaldecoder(encoding), errors="replace")
