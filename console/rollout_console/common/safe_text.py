"""Sanitize untrusted text for display (terminal escape injection).

Terminals execute control characters in whatever is written to them. Text from a file, a log or
the network is sanitized here, once, where it enters the screen or the output.
"""

import unicodedata
from functools import lru_cache

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


_MOST_CACHED = 256
"""Texts of more characters are not cached: a server's responses would fill the memory."""


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
