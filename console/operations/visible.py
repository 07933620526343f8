"""Text from outside, made safe to show.

Terminals obey control characters, and so does whoever writes a string to one. What comes from a
file, a log or the network is cleaned here, once, where it enters the screen or the output.
"""

import unicodedata
from functools import lru_cache

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


@lru_cache(maxsize=65_536)
def visible(text: str) -> str:
    """Return ``text`` with every invisible or direction-changing character shown as ``·``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("·" if unicodedata.category(c) in _HIDDEN else c for c in text)
