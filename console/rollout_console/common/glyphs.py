"""ASCII fallback: the table of every sign that the console draws, with an ASCII sign as wide.

A C or POSIX locale, a terminal without such signs in its font, or an output whose encoding lacks
them would show question marks, escapes, or columns that are shifted.
"""

import codecs
import unicodedata
from collections.abc import Mapping
from functools import cache

UNICODE, BACKSLASHES = "utf-8", "glyphs"
"""The name of the encoding that has all signs, and of the error handler for those that lack some:
signs of the table become ASCII, other characters a backslash escape."""

_WITHOUT_SIGNS = ("linux", "dumb", "ansi", "cons25", "vt1", "vt2", "vt3", "vt4", "vt5")
"""TERM, or how it begins, of terminals whose fonts have no braille and few blocks."""

_SIGNS = {
    "…": "~", "·": ".", "•": "o", "●": "*", "–": "-", "—": "-",
    "→": ">", "←": "<", "↑": "^", "↓": "v", "↩": "<", "↻": "@", "≠": "#",
    "▸": ">", "▶": ">", "◀": "<", "▾": "v", "▼": "v", "▲": "!", "△": "^",
    "▁": "_", "▂": ".", "▃": ":", "▄": "-", "▅": "=", "▆": "+", "▇": "*", "█": "#",
    "▔": "-", "▀": "-", "▓": "%", "▒": "x", "░": ":", "▚": "&", "▞": "/",
    "🔎": "/ ",
}  # fmt: skip
"""Signs of the console and of Textual's widgets. No two of one chart have the same substitute."""


def _boxes() -> Mapping[str, str]:
    """Return box drawing: rules along their direction, all corners and crossings as ``+``."""
    found = {}
    for sign in map(chr, range(0x2500, 0x2580)):
        words = set(unicodedata.name(sign).split()) & {"HORIZONTAL", "VERTICAL", "DIAGONAL"}
        rule = {"HORIZONTAL": "-", "VERTICAL": "|", "DIAGONAL": "/"}.get("".join(words), "+")
        ends = {"LEFT", "RIGHT"} & set(unicodedata.name(sign).split())
        stub = "-" if ends and not words and "AND" not in unicodedata.name(sign) else rule
        found[sign] = stub
    return found


def _blocks() -> Mapping[str, str]:
    """Return block elements that have no substitute of their own: edges and corners of borders."""
    return dict.fromkeys(map(chr, range(9600, 9632)), "|")


def _braille() -> Mapping[str, str]:
    """Return braille patterns, the dots of a chart's line: blank, or a point of the line."""
    return {sign: " " if sign == "⠀" else "*" for sign in map(chr, range(0x2800, 0x2900))}


@cache
def table() -> Mapping[int, str]:
    """Return for ``str.translate`` each sign, with a text of ASCII as wide.

    It is made when it is needed first: most commands start without it.
    """
    parts = (_blocks(), _boxes(), _braille(), _SIGNS)
    return str.maketrans({sign: plain for part in parts for sign, plain in part.items()})


def is_locale_without_utf8(environ: Mapping[str, str]) -> bool:
    """Return whether the locale's characters are not UTF-8; one that is not set says nothing.

    Python itself writes UTF-8 in a C locale (PEP 538, PEP 540), whatever the terminal shows.
    """
    locale = next(filter(None, map(environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    return bool(locale) and "utf8" not in locale.lower().replace("-", "")


def wants_ascii(environ: Mapping[str, str]) -> bool:
    """Return whether locale or terminal lack the signs."""
    terminal = environ.get("TERM", "")
    return is_locale_without_utf8(environ) or terminal.startswith(_WITHOUT_SIGNS)


def is_utf8(encoding: str | None) -> bool:
    """Return whether an encoding by its name is UTF-8; one that is not known is not."""
    try:
        return codecs.lookup(encoding or "").name == UNICODE
    except LookupError:
        return False


def register_handler() -> None:
    """Register the error handler BACKSLASHES for encodings that lack signs (PEP 293)."""
    codecs.register_error(BACKSLASHES, _encoded)


def _encoded(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    signs = (table().get(ord(sign)) or _escape(sign) for sign in lacking)
    return "".join(signs), error.end


def _escape(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode()
