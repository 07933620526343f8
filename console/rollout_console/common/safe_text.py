"""Text from outside, made safe to show.

Terminals obey control characters, and so does whoever writes a string to one. What comes from a
file, a log or the network is cleaned here, once, where it enters the screen or the output.
"""

import unicodedata
from functools import lru_cache

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


_MOST_CACHED = 256
"""Longer texts are not cached: a server's answers would fill the memory with them."""


def visible(text: str) -> str:
    """Return ``text`` with every invisible or direction-changing character shown as ``·``."""
    if text.isascii() and text.isprintable():
        return text
    return _cached(text) if len(text) <= _MOST_CACHED else cleaned(text)


@lru_cache(maxsize=65_536)
def _cached(text: str) -> str:
    return cleaned(text)


def cleaned(text: str) -> str:
    """Return what ``visible`` does, without caching: for secrets."""
    return "".join("·" if unicodedata.category(c) in _HIDDEN else c for c in text)
