"""Editing one line of TOML: ``key = value  # comment``."""

import re
import tomllib
from decimal import Decimal
from typing import Any

from console.rollout.layout import Entry, scan
from console.store.errors import EditNotPossible

MOST_STAMP = 200

_STAMP = re.compile(r" {0,2}# \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [^\s@]+@[^\s:]+: [^\n]*$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def clean_stamp(stamp: str) -> str:
    """Return a stamp that can stand in a comment: one line of visible text."""
    text = "".join(c if c.isprintable() else " " for c in stamp)
    return text[:MOST_STAMP].strip()


def key_text(key: str) -> str:
    """Return a key as TOML writes it: bare where it can be, else quoted and escaped."""
    return key if _BARE.fullmatch(key) else quoted(key)


def quoted(text: str) -> str:
    """Return a text as TOML writes it on one line."""
    return '"' + "".join(_escape(c) for c in text) + '"'


def value_text(line: str) -> str:
    """Return how the line spells its value."""
    entry = _entry(line)
    return line[entry.value_column : entry.end_column]


def with_value(line: str, spelled: str) -> str:
    """Return the line with its value spelled another way; all else stays as it is."""
    entry = _entry(line)
    return line[: entry.value_column] + spelled + line[entry.end_column :]


def with_stamp(line: str, stamp: str) -> str:
    """Return the line with ``stamp`` as its last comment, in place of an earlier stamp."""
    bare = without_stamp(line)
    if not stamp:
        return bare
    end = "\r" if bare.endswith("\r") else ""
    return f"{bare.removesuffix(end)}  # {stamp}{end}"


def without_stamp(line: str) -> str:
    """Return the line without the comment a rollback wrote; people's own comments stay."""
    end = "\r" if line.endswith("\r") else ""
    said = _entry(line).end_column  # a key may look like a stamp, too
    return line[:said] + _STAMP.sub("", line[said:].removesuffix(end)) + end


def comment_of(line: str) -> str:
    """Return the comment that people wrote behind a value, empty where there is none."""
    return without_stamp(line)[_entry(line).end_column :].strip()


def loaded(line: str) -> tuple[tuple[str, ...], Any]:
    """Return the key and the value that the line alone says; raises EditNotPossible."""
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


def _entry(line: str) -> Entry:
    entries = scan(line).entries
    if not entries:
        raise EditNotPossible("a line does not hold a value of its own; edit the file by hand")
    return entries[min(entries, key=len)]
