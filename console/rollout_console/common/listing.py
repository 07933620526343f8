"""Enumerate names in a sentence, truncated to the first of them."""

from collections.abc import Sequence


def first_of(names: Sequence[str], most: int) -> str:
    """Return ``a, b and 3 more``: at most ``most`` names, then the number of the rest."""
    named = ", ".join(names[:most])
    more = len(names) - most
    return f"{named} and {more:,} more" if more > 0 else named
