"""Types of options for argparse: a refused value is named, with what would be taken."""

import argparse
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from rollout_console.common.durations import LIKE, parse_duration, seconds_text

_MOST_DIGITS = 30


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a type for whole numbers from ``least`` to ``most``."""

    def parse(text: str) -> int:
        digits = text.strip().removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number; give one from {least} to {most}"
            )
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return parse


def duration(least_s: float, most_s: float, *, bare: str = "") -> Callable[[str], float]:
    """Return a type for durations in seconds; a number alone is in the unit ``bare``."""

    def parse(text: str) -> float:
        seconds = parse_duration(text, bare=bare)
        limits = f"from {seconds_text(least_s)} to {seconds_text(most_s)}"
        if seconds is None and not re.match(r"\s*[0-9]{8,}", text, re.ASCII):
            raise argparse.ArgumentTypeError(f"{text!r} is no duration; give one such as {LIKE}")
        if seconds is None or not least_s <= seconds <= most_s:
            raise argparse.ArgumentTypeError(f"{text} is not {limits}")
        return seconds

    return parse


def days(least: int, most: int) -> Callable[[str], int]:
    """Return a type for durations in whole days, rounded up; a number alone is in days."""
    span = duration(least * 86_400, most * 86_400, bare="d")
    return lambda text: math.ceil(span(text) / 86_400)


def past_time(text: str, now: datetime | None = None, zone: tzinfo | None = None) -> float:
    """Return a time in epoch seconds: how long ago, a time of day, or a date and a time.

    Without a zone of its own a time is of ``zone``, this machine's by default, with the offset that
    it has at that time: it is another one on the other side of a change to summer time.
    """

    def local(naive: datetime) -> datetime:
        return naive.astimezone() if zone is None else naive.replace(tzinfo=zone)

    here = datetime.now(UTC).astimezone(zone) if now is None else now
    text = text.strip()
    try:
        ago_s = parse_duration(text)
        if ago_s is not None:
            return here.timestamp() - ago_s
        if "-" not in text[:8]:
            at = datetime.fromisoformat(f"{here:%Y-%m-%d}T{text}")
            before = at - timedelta(days=1)
            if at.tzinfo is None:
                at, before = local(at), local(before)
            # A time of day that is still to come is yesterday's.
            return (at if at.timestamp() <= here.timestamp() else before).timestamp()
        at = datetime.fromisoformat(text)
        seconds = (local(at) if at.tzinfo is None else at).timestamp()
        if seconds < 0:
            raise ValueError  # before 1970 there was no log, and near year 1 no zone's time is one
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; give 14:05, 2026-11-28T14:05:00Z, or how long ago: 30m, 2h, 1d"
        ) from None
    if seconds > here.timestamp():
        raise argparse.ArgumentTypeError(f"{text} is still to come")
    return seconds
