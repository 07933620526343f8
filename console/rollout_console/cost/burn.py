"""Burn: what the last day cost against the seven days before it, and how long the money lasts."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from rollout_console.reconcile.money import EXACT, ZERO, total
from rollout_console.reconcile.store import UsageStore
from rollout_console.tokenlab.types import ApiKey

DAY_S = 86_400.0
BEFORE_DAYS = 7
BURN_S = (1 + BEFORE_DAYS) * DAY_S
"""How far back the records of a burn go."""
_LEAST_BEFORE_S = DAY_S / 4
_LEAST_S = 60.0
"""The shortest time that a burn is of: a single record has no rate."""
_MICROS = 1_000_000


class Burn(msgspec.Struct, frozen=True):
    """The cost of the 24 hours before ``until`` (epoch seconds), exact, in all and by key.

    ``before`` is that of the days before it, of which ``before_days`` have records: up to 7, None
    where there are none. ``span_s`` is how many seconds the cost is of: less than 24 hours where
    the first record of all is younger.
    """

    until: float
    cost: Decimal
    by_key: Mapping[str, Decimal]
    before: Decimal = ZERO
    before_days: Decimal | None = None
    span_s: float = DAY_S

    def a_day(self, cost: Decimal) -> Decimal:
        """Return what a cost of this burn is a day: rounded, where the burn is of less than one."""
        if self.span_s >= DAY_S:
            return cost
        return cost * Decimal(round(DAY_S)) / Decimal(round(self.span_s))

    @property
    def before_a_day(self) -> Decimal | None:
        """The average cost of a day before, rounded to 28 digits; None where it is not known."""
        return self.before / self.before_days if self.before_days else None

    @property
    def change(self) -> Decimal | None:
        """How much more the last day cost than one before, in percent, rounded."""
        before = self.before_a_day
        return (self.cost - before) * 100 / before if before and before > 0 else None


def burn_of(store: UsageStore, until: float, key: str = "") -> Burn:
    """Return the burn at a time, of all keys or of one (its id)."""
    end = round(until * _MICROS)
    middle, begin = (round((until - span) * _MICROS) for span in (DAY_S, BURN_S))

    def costs(since: int, till: int) -> dict[str, Decimal]:
        found = store.costs(since, till)
        return {name: cost for name, cost in found.items() if key in ("", name)}

    by_key, before = costs(middle, end), costs(begin, middle)
    first = store.first_at()
    span = 0 if first is None else (middle - max(begin, first)) / _MICROS
    days = Decimal(round(span)) / Decimal(round(DAY_S)) if span >= _LEAST_BEFORE_S else None
    known_s = DAY_S if first is None or first >= end else (end - first) / _MICROS
    span_s = min(max(known_s, _LEAST_S), DAY_S)
    return Burn(until, total(by_key.values()), by_key, total(before.values()), days, span_s)


class Runway(msgspec.Struct, frozen=True):
    """How long money lasts at a burn: what is left, of what limit, and for how many seconds.

    ``key`` is an API key's id, empty for the balance; ``seconds`` None where nothing is spent.
    """

    key: str
    left: Decimal
    limit: Decimal | None
    a_day: Decimal

    @property
    def seconds(self) -> float | None:
        """For how long it lasts; None where nothing is spent."""
        if self.left <= 0:
            return 0.0
        return float(self.left / self.a_day) * DAY_S if self.a_day > 0 else None


def runways(
    balance: Decimal, keys: Sequence[ApiKey], burn: Burn, key: str = ""
) -> tuple[Runway | None, Sequence[Runway]]:
    """Return the runway of the balance, and those of the active keys with a limit, shortest first.

    With one ``key`` alone the burn is that key's, and the balance has no runway.
    """
    whole = None if key else Runway("", balance, None, burn.a_day(burn.cost))
    limited = []
    for one in keys:
        if one.limit is not None and one.status == "active" and key in ("", one.id):
            left = EXACT.subtract(one.limit, one.used)
            a_day = burn.a_day(burn.by_key.get(one.id, ZERO))
            limited.append(Runway(one.id, left, one.limit, a_day))
    limited.sort(key=lambda one: (one.seconds is None, one.seconds or 0.0, one.key))
    return whole, limited
