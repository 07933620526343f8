"""Parse an amount of US dollars that is typed into a form."""

from decimal import Decimal, InvalidOperation

_MOST_USD = 1_000_000


def parse_usd(text: str) -> Decimal | None:
    """Parse an amount from 0 to 1,000,000 US dollars, with or without ``$``; None for no such."""
    digits = text.strip().removeprefix("$").strip()
    try:
        amount = Decimal(digits)
    except InvalidOperation:
        return None
    # No exponent, no digits of another script, no underscores, which Decimal takes as well.
    plain = digits.isascii() and not digits.strip("0123456789.")
    return amount if plain and 0 <= amount <= _MOST_USD else None


def usd_problem(text: str) -> str:
    """Return why a text is no amount of US dollars, and what to type; empty if it is one."""
    if parse_usd(text) is not None:
        return ""
    return f"not an amount of US dollars from 0 to {_MOST_USD:,}; type a number such as 1.00"
