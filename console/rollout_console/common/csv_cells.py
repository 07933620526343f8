"""Text cells of CSV files that people open in a spreadsheet."""

from rollout_console.common.safe_text import visible
from rollout_gate.secret import redacted

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain_cell(text: str) -> str:
    """Return a name that no spreadsheet takes for a formula (CSV injection).

    Control characters are made visible, and whatever looks like a credential is redacted.
    """
    text = redacted(visible(text))
    return f"'{text}" if text.startswith(_FORMULA) else text
