"""Percents, held as integer basis points (0 to 10,000) so that they are exact."""

from decimal import Decimal, DecimalException

from rollout_gate.file.errors import PercentError

FULL = 10_000
"""100% in basis points."""


def basis_points(value: object) -> int:
    """Return ``value`` (int or Decimal percent, 0 to 100) in basis points.

    Raises PercentError for a bool, NaN, an infinity, a value out of range, a
    third decimal, or another type.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PercentError(f"must be a number from 0 to 100, not {_kind(value)}")
    if isinstance(value, Decimal) and not value.is_finite():
        raise PercentError("must be a number from 0 to 100, not NaN or infinity")
    if not 0 <= value <= 100:
        raise PercentError(f"must be from 0 to 100, not {_short(value)}")
    number = Decimal(value)
    # Inspect the digits: Decimal arithmetic rounds to 28 (the precision of its context).
    _, digits, exponent = number.as_tuple()
    beyond = -2 - int(exponent)
    if beyond > 0 and any(digits[-beyond:]):
        raise PercentError(f"has more than two decimals: {_short(value)}")
    return int(number * 100)


def parse_percent(text: str) -> int:
    """Parse a percent as typed (``12.5``, ``12.5%``) into basis points; raises PercentError."""
    cleaned = text.strip().removesuffix("%").strip()
    plain = cleaned.removeprefix("+")
    if not plain or not all(c in "0123456789." for c in plain) or not plain.isascii():
        raise PercentError(f"{text.strip()[:40]!r} is not a percent; type a number from 0 to 100")
    try:
        return basis_points(Decimal(plain))
    except DecimalException:
        raise PercentError(
            f"{text.strip()[:40]!r} is not a percent; type a number from 0 to 100"
        ) from None


def percent_text(points: int) -> str:
    """Format basis points as the shortest percent: 2500 is ``25``, 1250 is ``12.5``."""
    whole, rest = divmod(points, 100)
    return str(whole) if not rest else f"{whole}.{rest:02d}".rstrip("0")


def _kind(value: object) -> str:
    names = {bool: "a bool", str: "a string", list: "an array", dict: "a table", float: "a float"}
    return names.get(type(value), "a date or time")


def _short(value: int | Decimal) -> str:
    text = str(value) if isinstance(value, Decimal) else f"{Decimal(value):f}"
    return text if len(text) <= 24 else f"{text[:20]}…"
