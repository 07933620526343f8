"""Exact decimal arithmetic: sums of money that never round."""

from collections.abc import Iterable
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, Rounded

from rollout_console.reconcile.errors import BadRecord

EXACT = Context(prec=200, traps=[Inexact, Rounded, InvalidOperation, Overflow, DivisionByZero])
"""The decimal context of sums. Python's default rounds to 28 digits; this one raises instead."""

ZERO = Decimal(0)
_MOST_DIGITS = 80
"""Digits before and after the point of an amount that was kept: a sum of two fits into EXACT."""


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


def stored(text: object) -> Decimal:
    """Return an amount that was kept as text; raises BadRecord where it is none.

    NaN cannot be compared, and 1e999999 is finite as well.
    """
    try:
        amount = Decimal(text) if isinstance(text, str) else None
    except InvalidOperation:
        amount = None
    exponent = None if amount is None else amount.as_tuple().exponent
    if amount is None or not isinstance(exponent, int):
        raise BadRecord("an amount that was kept is no number")
    if exponent < -_MOST_DIGITS or amount.adjusted() > _MOST_DIGITS:
        raise BadRecord("an amount that was kept is implausible")
    return amount
