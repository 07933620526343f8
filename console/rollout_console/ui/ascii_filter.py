"""ASCII on the screen: a filter of all that Textual draws, its borders and our charts alike."""

from collections.abc import Mapping
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from rollout_console.common.glyphs import (
    UNICODE,
    is_locale_without_utf8,
    is_utf8,
    table,
    wants_ascii,
)
from rollout_console.ui.output_stream import drawn_on


def written_encoding() -> str | None:
    """Return the encoding of the stream that Textual's driver writes to."""
    stream = drawn_on()
    return None if stream is None else stream.encoding


def terminal_encoding(environ: Mapping[str, str], written: str | None) -> str:
    """Return the encoding that the terminal shows, where ``written`` is what Python writes."""
    if is_utf8(written):
        return "ascii" if is_locale_without_utf8(environ) else UNICODE
    return written or "ascii"


def is_ascii(
    environ: Mapping[str, str], written: str | None, *, told: bool, setting: bool | None
) -> bool:
    """Return whether to draw in ASCII alone: as told, else as the setting says, else as detected.

    What Python cannot write (``written`` is the encoding) is not drawn, whatever is set.
    """
    if told or not is_utf8(written):
        return True
    return wants_ascii(environ) if setting is None else setting


class AsciiFilter(LineFilter):
    """Replaces each sign of the table by its ASCII substitute.

    Other characters, which are from outside (org ids), stay as they are where ``encoding`` has
    them, and are question marks where it does not.
    """

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments in ASCII, each as wide as it was."""
        return [
            segment
            if segment.text.isascii()
            else Segment(ascii_text(segment.text, self._encoding), segment.style, segment.control)
            for segment in segments
        ]


@lru_cache(maxsize=4096)
def ascii_text(text: str, encoding: str) -> str:
    """Return a text with the signs of the table in ASCII, as wide as it was."""
    found = text.translate(table())
    if not _has(encoding, found):
        found = "".join(sign if _has(encoding, sign) else "?" * cell_len(sign) for sign in found)
        found = set_cell_size(found, cell_len(text))
    return found


def _has(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.isascii()
    return True
