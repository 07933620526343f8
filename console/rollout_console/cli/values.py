"""Types of options for argparse: a refused value is named, with what would be taken."""

import argparse
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rollout_console.common.durations import LIKE, parse_duration, seconds_text


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a type for whole numbers from ``least`` to ``most``."""

    def parse(text: str) -> int:
        digits = text.strip().removeprefix("-")
        value = int(text) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None
        if value is None:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number; give one from {least} to {most}"
            )
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return parse


def duration(least_s: float, most_s: float, *, bare: str = "") -> Callable[[str], float]:
    """Return a type for durations in seconds; a number alone is in the unit ``bare``."""

    def parse(text: str) -> float:
        seconds = parse_duration(text, bare=bare)
        if seconds is None:
            raise argparse.ArgumentTypeError(f"{text!r} is no duration; give one such as {LIKE}")
        if not least_s <= seconds <= most_s:
            limits = f"from {seconds_text(least_s)} to {seconds_text(most_s)}"
            raise argparse.ArgumentTypeError(f"{text} is not {limits}")
        return seconds

    return parse


def days(least: int, most: int) -> Callable[[str], int]:
    """Return a type for durations in whole days, rounded up; a number alone is in days."""
    span = duration(least * 86_400, most * 86_400, bare="d")
    return lambda text: math.ceil(span(text) / 86_400)


def past_time(text: str, now: datetime | None = None) -> float:
    """Return a time in epoch seconds: how long ago, a time of day, or a date and a time."""
    here = datetime.now().astimezone() if now is None else now
    text = text.strip()
    try:
        ago_s = parse_duration(text)
        if ago_s is not None:
            return (here - timedelta(seconds=ago_s)).timestamp()
        if "-" not in text[:8]:
            of_day = datetime.fromisoformat(f"{here:%Y-%m-%d}T{text}")
            at = of_day if of_day.tzinfo is not None else of_day.replace(tzinfo=here.tzinfo)
            # A time of day that is still to come is yesterday's.
            return (at if at <= here else at - timedelta(days=1)).timestamp()
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=here.tzinfo) if now is not None else at.astimezone()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; give 14:05, 2026-11-28T14:05:00Z, or how long ago: 30m, 2h, 1d"
        ) from None
    if at.astimezone(UTC) > here.astimezone(UTC):
        raise argparse.ArgumentTypeError(f"{text} is still to come")
    return at.timestamp()
