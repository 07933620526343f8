"""Untrusted text in Markdown: shown as it is, with no markup, link or mention of its own."""

import re

from rollout_console.common.safe_text import visible


def escaped(text: str) -> str:
    """Escape untrusted text for Markdown: no markup of its own, on one line."""
    return re.sub(r"([\\`*_~\[\]<>|&!])", r"\\\1", visible(text))


def code(text: str) -> str:
    """Format text as an inline code span on one line, escaping backticks by a longer fence."""
    text = visible(text)
    fence = "`" * (ticks(text) + 1)
    room = " " if text[:1] in ("`", " ") or text[-1:] in ("`", " ") else ""
    return f"{fence}{room}{text}{room}{fence}"


def cell(text: str) -> str:
    """Format text as a code span in a table, where a ``|`` ends the cell even within one (GFM)."""
    return code(text).replace("|", "\\|") if text else ""


def ticks(text: str) -> int:
    """Return the length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)
