"""Edit one line of TOML: ``key = value  # comment``."""

import re
import tomllib
from decimal import Decimal
from typing import Any

from rollout_console.changes.errors import EditNotPossible
from rollout_gate.file.positions import scan

MOST_STAMP = 200

_HEAD = r" {0,2}# \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [^\s@]+@[^\s:]+: "
_STAMP = rf"{_HEAD}([^\n]*?)(?={_HEAD}|$)"
_BARE = r"[A-Za-z0-9_-]+"


def clean_stamp(stamp: str) -> str:
    """Sanitize a stamp for a comment: one line of at most MOST_STAMP printable characters."""
    text = "".join(c if c.isprintable() else " " for c in stamp)
    return text[:MOST_STAMP].strip()


def key_text(key: str) -> str:
    """Serialize a key as TOML: bare where it can be, else quoted and escaped."""
    return key if re.fullmatch(_BARE, key) else quoted(key)


def quoted(text: str) -> str:
    """Serialize a text as a TOML basic string: quoted and escaped, on one line."""
    return '"' + "".join(_escape(c) for c in text) + '"'


def with_stamp(line: str, said: int, stamp: str, about: str = "") -> str:
    """Return the line with ``stamp`` as its last comment, in place of an earlier stamp.

    ``said`` is the column after the line's value. A line with several values keeps the stamps of
    the others: ``about`` names the org or route of this one.
    """
    bare = without_stamp(line, said, about)
    if not stamp:
        return bare
    end = "\r" if bare.endswith("\r") else ""
    head, colon, reason = stamp.partition(": ")
    text = clean_stamp(f"{head}: {about}: {reason}" if about and colon else stamp)
    return f"{bare.removesuffix(end)}  # {text}{end}"


def without_stamp(line: str, said: int, about: str = "") -> str:
    """Return the line without the stamp that a rollback wrote; people's own comments stay."""
    end = "\r" if line.endswith("\r") else ""
    kept = re.sub(
        _STAMP,
        lambda found: found[0] if about and not found[1].startswith(f"{about}: ") else "",
        line[said:].removesuffix(end),  # a key may look like a stamp, too
    )
    return line[:said] + kept + end


def comment_of(line: str, said: int) -> str:
    """Return the comment that people wrote after a value, empty where there is none."""
    return without_stamp(line, said)[said:].strip()


def loaded(line: str) -> tuple[tuple[str, ...], Any]:
    """Parse one line by itself; returns its key and value, or raises EditNotPossible."""
    try:
        value: Any = tomllib.loads(line.removesuffix("\r"), parse_float=Decimal)
    except ValueError as error:
        raise EditNotPossible(f"the edited line would not be TOML: {error}") from None
    path = min(scan(line).entries, key=len)
    for part in path:
        value = value[part]
    return path, value


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
