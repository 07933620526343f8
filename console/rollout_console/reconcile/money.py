"""Exact decimal arithmetic: sums of money that never round."""

from collections.abc import Iterable
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, Rounded

EXACT = Context(prec=200, traps=[Inexact, Rounded, InvalidOperation, Overflow, DivisionByZero])
"""The decimal context of sums. Python's default rounds to 28 digits; this one raises instead."""

ZERO = Decimal(0)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    found = ZERO
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def plain(amount: Decimal) -> str:
    """Return an amount with all its digits and without an exponent."""
    return f"{amount:f}"


def canonical(amount: Decimal) -> str:
    """Return the same text for equal amounts, whatever zeros they end in."""
    return f"{amount.normalize(EXACT) if amount else ZERO:f}"
