"""How each budget of a rollout file stands, by what was counted last."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Context, Decimal

import msgspec

from rollout_console.budgets.periods import DAY_S, Period, time_words
from rollout_console.budgets.spending import Spend, Spending, a_day_of, scope_of, scopes_at
from rollout_console.common.durations import seconds_text
from rollout_gate.file.model import Budget, RolloutFile, Route

NEAR_PERCENT = 80
"""From this percent of its limit on a budget is told."""
STALE_S = 2 * 3600.0
"""How old what was counted may be, in seconds, before it is told as stale."""
EVERY_S = 600.0
"""How often the spending is counted, in seconds; where that takes long, _REST times as long."""
_AGAIN_S = 60.0
_REST = 10.0
_HUNDRED = Decimal(100)
_LEAST = Decimal("0.000001")
_WIDE = Context(prec=200)
"""A small limit may be spent many times over: the default context ends at 28 digits."""


class Standing(msgspec.Struct, frozen=True):
    """One budget in the period of now; ``spend`` is None where that was not counted yet.

    ``until`` is up to when usage records were counted, and ``burn_s`` of how many seconds what the
    spend's ``last_day`` is; in epoch seconds and seconds.
    """

    budget: Budget
    period: Period
    spend: Spend | None = None
    until: float = 0.0
    burn_s: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether it is known what was spent."""
        return self.spend is not None and not self.spend.problem

    @property
    def spent(self) -> Decimal:
        """What was spent, in US dollars, exactly; 0 where it is not known, never under 0."""
        return max(self.spend.cost, Decimal(0)) if self.spend is not None else Decimal(0)

    @property
    def percent(self) -> int:
        """How much of the limit was spent, in whole percent, rounded down."""
        hundredfold = _WIDE.multiply(self.spent, _HUNDRED)
        return int(_WIDE.divide_int(hundredfold, self.budget.limit_usd))

    @property
    def is_over(self) -> bool:
        """Whether all of it is spent."""
        return self.is_known and self.spent >= self.budget.limit_usd

    @property
    def is_near(self) -> bool:
        """Whether NEAR_PERCENT or more is spent, and not all."""
        return self.is_known and not self.is_over and self.percent >= NEAR_PERCENT

    @property
    def projected(self) -> Decimal | None:
        """What will have been spent at the period's end, at the burn; None where not known."""
        if self.spend is None or self.spend.problem:
            return None
        a_day = a_day_of(self.spend.last_day, self.burn_s)
        if a_day is None:
            return None
        left_s = max(self.period.ends - max(self.until, self.period.begins), 0.0)
        return self.spent + max(a_day, Decimal(0)) * Decimal(round(left_s)) / Decimal(DAY_S)

    @property
    def held_words(self) -> str:
        """Spent and limit, until when raises of what it covers are held."""
        return f"{self._words('')}, until {self.period.until_words}"

    def words_at(self, now: float) -> str:
        """Spent with its age, and limit: ``budget b: $12 (9 m ago) of $10 for November``."""
        return self._words(f" ({count_age(self.until, now)})")

    def held_words_at(self, now: float) -> str:
        """The same, until when raises of what it covers are held."""
        return f"{self.words_at(now)}, until {self.period.until_words}"

    def _words(self, age: str) -> str:
        amounts = f"{usd(self.spent)}{age} of {usd(self.budget.limit_usd)}"
        return f"budget {self.budget.name}: {amounts} for {self.period.words}"

    @property
    def notes(self) -> list[str]:
        """What is to be known of the amount: what is not attributed, and since when it is."""
        spend, found = self.spend, list[str]()
        if spend is None:
            return ["not counted yet"]
        if spend.problem:
            return [spend.problem]
        if spend.unattributed:
            where = "of it " if not spend.scope.is_by_line else ""
            found.append(f"{usd(spend.unattributed)} {where}is not attributed")
        if spend.since is not None and spend.scope.is_by_line:
            found.append(f"attributed since {time_words(spend.since)}, where the log begins")
        return found


def standings_of(file: RolloutFile, spending: Spending | None, now: float) -> list[Standing]:
    """Return how each budget stands at a time (epoch seconds), in the order of the file."""
    if not file.budgets:
        return []
    known = spending or Spending()
    counted = {(one.scope, one.begins): one for one in known.spends}
    periods = scopes_at(file, now)
    found = []
    for budget in file.budgets.values():
        scope = scope_of(budget)
        period = periods[scope]
        spend = counted.get((scope, period.begins))
        found.append(Standing(budget, period, spend, known.until, known.burn_s))
    return found


def missing_from(file: RolloutFile, spending: Spending | None, now: float) -> bool:
    """Return whether a budget, or the burn, was not counted yet in the period of now."""
    if spending is None or not spending.until:
        return True
    return any(one.spend is None for one in standings_of(file, spending, now))


def is_due(file: RolloutFile, spending: Spending | None, now: float) -> bool:
    """Return whether it is time to count again; of a new budget or period it is after a minute.

    A count that failed puts off others for a minute alone: they may have what it lacked.
    """
    if not file.asks_for_counts or spending is None:
        return spending is None and file.asks_for_counts
    if abs(now - spending.failed_at) < _AGAIN_S:  # also by a clock that was set back
        return False
    wait_s = max(EVERY_S, _REST * spending.took_s)
    wait_s = _AGAIN_S if missing_from(file, spending, now) else wait_s
    return abs(now - spending.counted_at) >= wait_s


def age_words(spending: Spending, now: float) -> str:
    """Return up to when records were counted: ``up to 14:20 UTC``, with the day if not today."""
    at = datetime.fromtimestamp(spending.until, UTC)
    today = at.date() == datetime.fromtimestamp(now, UTC).date()
    return f"up to {f'{at:%H:%M} UTC' if today else time_words(spending.until)}"


def count_age(until: float, now: float) -> str:
    """Return how old a count is: in minutes, so that a screen need not change each second."""
    minutes = int(max(now - until, 0.0) // 60)
    if not minutes:
        return "just now"
    return f"{minutes} m ago" if minutes < 120 else f"{seconds_text(60.0 * minutes)} ago"


def what_of(budget: Budget) -> str:
    """Return what a budget is of: ``chat / acme``, ``key prod-eu``, ``everything``."""
    parts: Sequence[str] = [name for name in (budget.route, budget.org) if name]
    place = " / ".join(parts) if budget.route or not budget.org else f"org {budget.org}"
    key = f"key {budget.key}" if budget.key else ""
    return ", ".join(filter(None, (place, key))) or "everything"


def lowers_words(file: RolloutFile, one: Standing, *, guard_acts: bool | None = None) -> str:
    """Return whether a guard lowers the shares of a budget that is spent; empty if not asked to.

    ``guard_acts`` is whether one runs on the file, None where that is not known.
    """
    some = routes_of(file, one)
    other = [route for route in some if route.guard.mode != "enforce"]
    if one.budget.at_limit != "lower":
        return ""
    if not other:
        lowers = "a running guard lowers its shares, a step at a time"
        return lowers if guard_acts is not False else f"{lowers}; none is running"
    names = "" if len(other) == len(some) else f" on {other[0].name}"
    return f"would lower its shares{names}: the guard's mode there is {other[0].guard.mode}"


def routes_of(file: RolloutFile, one: Standing) -> Sequence[Route]:
    """Return the route that a budget is of, or all of the file."""
    named = file.routes.get(one.budget.route)
    return [named] if named is not None else [*file.routes.values()]


def usd(amount: Decimal) -> str:
    """Return an amount rounded down to cents, or under a dollar to six decimals: ``$2,612.40``.

    Whole dollars have no decimals, and what would be 0 has all. What is spent is never shown as
    more than it is.
    """
    if 0 < abs(amount) < _LEAST:
        return f"{'-' if amount < 0 else ''}${abs(amount):f}"
    step = Decimal("0.01") if abs(amount) >= 1 else _LEAST
    text = f"{amount.quantize(step, ROUND_DOWN, _WIDE):,f}"
    whole, _, decimals = text.partition(".")
    decimals = decimals.rstrip("0")
    decimals = f"{decimals:0<2}" if decimals else ""
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}${digits}{'.' if decimals else ''}{decimals}"
