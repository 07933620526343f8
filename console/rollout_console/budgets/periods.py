"""Calendar periods in UTC: the day, the week from Monday, and the month that a time is in."""

from datetime import UTC, datetime, timedelta

import msgspec

from rollout_gate.file.model import BudgetPeriod

DAY_S = 86_400


class Period(msgspec.Struct, frozen=True):
    """One period, in epoch seconds; the end is exclusive."""

    per: BudgetPeriod
    begins: int
    ends: int

    @property
    def words(self) -> str:
        """What it is called: ``November``, ``the week from 23 Nov``, ``29 Nov``."""
        begin = datetime.fromtimestamp(self.begins, UTC)
        if self.per == "month":
            return f"{begin:%B}"
        return f"the week from {_day(begin)}" if self.per == "week" else _day(begin)

    @property
    def until_words(self) -> str:
        """When it ends: ``1 Dec 00:00 UTC``."""
        return f"{_day(datetime.fromtimestamp(self.ends, UTC))} 00:00 UTC"


def period_at(per: BudgetPeriod, at: float) -> Period:
    """Return the period that a time (epoch seconds) is in."""
    day = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        begin, end = day, day + timedelta(days=1)
    elif per == "week":
        begin = day - timedelta(days=day.weekday())
        end = begin + timedelta(days=7)
    else:
        begin = day.replace(day=1)
        end = (begin + timedelta(days=32)).replace(day=1)
    return Period(per, int(begin.timestamp()), int(end.timestamp()))


def time_words(at: float) -> str:
    """Return a time with its day: ``3 Nov 09:12 UTC``."""
    found = datetime.fromtimestamp(at, UTC)
    return f"{_day(found)} {found:%H:%M} UTC"


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b}"
