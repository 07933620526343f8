"""Freeze windows: times, in UTC, in which no share is raised.

Three ways to write one: ``fri 16:00 - mon 08:00`` (each week), ``22:00 - 06:00`` (each day) and
``2026-12-24 - 2027-01-02`` (whole days, the last one included).
"""

import re
from datetime import UTC, datetime, timedelta

import msgspec

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)
_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)"
_WEEKLY = rf"(?i:({'|'.join(_DAYS)}) {_CLOCK} - ({'|'.join(_DAYS)}) {_CLOCK})"
_DAILY = rf"{_CLOCK} - {_CLOCK}"
_DATES = r"(\d{4}-\d\d-\d\d) - (\d{4}-\d\d-\d\d)"

FORMS = '"fri 16:00 - mon 08:00", "22:00 - 06:00" or "2026-12-24 - 2027-01-02", in UTC'


class Freeze(msgspec.Struct, frozen=True):
    """One window: from ``start`` for ``length``, recurring each ``period`` if there is one.

    ``text`` is its source in the file.
    """

    text: str
    start: datetime
    length: timedelta
    period: timedelta | None = None

    def until(self, now: datetime) -> datetime | None:
        """Return when the window that ``now`` is in ends; None outside of it."""
        since = now - self.start
        if self.period is not None:
            since %= self.period
        elif since < timedelta(0):
            return None
        if since >= self.length:
            return None
        try:
            return now + (self.length - since)
        except OverflowError:  # it ends on the last day that datetime can represent
            return datetime.max.replace(tzinfo=UTC)


def parse_freeze(text: str) -> Freeze:
    """Parse a freeze window; raises ValueError with what is wrong."""
    clean = " ".join(text.split())
    if found := re.fullmatch(_WEEKLY, clean):
        start, end = _in_week(*found.groups()[:3]), _in_week(*found.groups()[3:])
        return _repeating(text, start, end, _WEEK)
    if found := re.fullmatch(_DAILY, clean):
        hours = [int(group) for group in found.groups()]
        start, end = (
            timedelta(hours=hours[0], minutes=hours[1]),
            timedelta(hours=hours[2], minutes=hours[3]),
        )
        return _repeating(text, start, end, _DAY)
    if found := re.fullmatch(_DATES, clean):
        first, last = (_date(part) for part in found.groups())
        if last < first:
            raise ValueError(f"{text[:60]!r} ends before it begins")
        return Freeze(text, first, last - first + _DAY)
    raise ValueError(f"{text[:60]!r} is no freeze window: write {FORMS}")


def _repeating(text: str, start: timedelta, end: timedelta, period: timedelta) -> Freeze:
    length = (end - start) % period
    if not length:
        raise ValueError(f"{text[:60]!r} begins when it ends")
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    return Freeze(text, monday + start, length, period)


def _in_week(day: str, hour: str, minute: str) -> timedelta:
    return timedelta(days=_DAYS.index(day.lower()), hours=int(hour), minutes=int(minute))


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{text!r} is no date") from None
