"""Counts and enumerations in a sentence."""

from collections.abc import Sequence


def counted(count: int, one: str, several: str = "") -> str:
    """Return a count with its noun: ``1 line``, ``1,200 lines``; ``several`` is its plural."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def first_of(names: Sequence[str], most: int) -> str:
    """Return ``a, b and 3 more``: at most ``most`` names, then the number of the rest."""
    named = ", ".join(names[:most])
    more = len(names) - most
    return f"{named} and {more:,} more" if more > 0 else named
