"""A bill, attributed: by route and org through the matched log line, by model, key and day itself.

Every usage record of the period is in exactly one group, and so in one row of every view: the rows
of a view add up to the bill, to the last digit.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Literal, get_args

import msgspec

from rollout_console.reconcile.money import EXACT, ZERO
from rollout_console.reconcile.piles import Row

View = Literal["route", "org", "model", "key", "day"]
VIEWS: tuple[View, ...] = get_args(View)

NOT_LOGGED = "(billed, not logged)"
"""The row of the records that no line of the access log explains: their route is not known."""
ELSEWHERE = "(other routes and orgs)"
"""The row of what ``--route`` and ``--org`` leave out."""

WIDE = Context(prec=200)
"""The context that rates are rounded in: of a very small amount they are very large."""

_MILLION = Decimal(1_000_000)
_THOUSAND = Decimal(1_000)


Fixed = Mapping[View, str | None]
"""The names that a drill has fixed, by view; None is what no line of the access log explains."""
NOTHING_FIXED: Fixed = {}


class Figures(msgspec.Struct):
    """Counts and exact cost of usage records; ``refunds`` of them are negative and no requests.

    ``token_cost`` is the part of the cost that is of records with tokens.
    """

    requests: int = 0
    refunds: int = 0
    cost: Decimal = ZERO
    tokens_in: int = 0
    tokens_out: int = 0
    token_cost: Decimal = ZERO

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.tokens_in + self.tokens_out

    @property
    def per_thousand(self) -> Decimal | None:
        """The cost per 1,000 requests, rounded to 28 digits; None without a request."""
        return self.cost * _THOUSAND / self.requests if self.requests else None

    @property
    def per_million(self) -> Decimal | None:
        """The cost per million tokens of what has tokens, rounded; None without any."""
        return self.token_cost * _MILLION / self.tokens if self.tokens else None

    def count(self, row: Row, cost: Decimal) -> None:
        """Count a usage record."""
        self.cost = EXACT.add(self.cost, cost)
        if cost < 0:
            self.refunds += 1
        else:
            self.requests += 1
            self.tokens_in += row.tokens_in
            self.tokens_out += row.tokens_out
        if row.tokens_in or row.tokens_out:
            self.token_cost = EXACT.add(self.token_cost, cost)

    def merge(self, other: "Figures") -> None:
        """Add other figures."""
        self.requests += other.requests
        self.refunds += other.refunds
        self.cost = EXACT.add(self.cost, other.cost)
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        self.token_cost = EXACT.add(self.token_cost, other.token_cost)


class Group(msgspec.Struct, frozen=True):
    """What a record is of; ``route`` and ``org`` are None where no line of the log explains it."""

    route: str | None
    org: str | None
    model: str
    key: str
    day: str


class ViewRow(msgspec.Struct, frozen=True):
    """One row of a view; ``is_rest`` marks those that are of no single name."""

    name: str
    figures: Figures
    is_rest: bool = False


class Bill:
    """The usage records of a period, grouped; with ``route`` or ``org`` the others are a rest."""

    def __init__(self, *, route: str = "", org: str = "") -> None:
        self._route = route
        self._org = org
        self.groups: dict[Group, Figures] = {}
        self.all = Figures()
        self.settling = Figures()
        self._days: dict[int, str] = {}

    def add(self, row: Row) -> None:
        """Count a row, where it is a usage record."""
        if row.cost is None or row.at is None:
            return
        route, org = _place(row)
        group = Group(route, org, row.model, row.key_id, self._day(row.at))
        self.groups.setdefault(group, Figures()).count(row, row.cost)
        self.all.count(row, row.cost)
        if row.pile == "settling":
            self.settling.count(row, row.cost)

    def has_row(self, row: Row) -> bool:
        """Whether a row is of a route and an org that are asked for."""
        return self.has(*_place(row))

    def has(self, route: str | None, org: str | None) -> bool:
        """Whether a route and an org are among those that are asked for."""
        return not self._rest_of(route, org)

    @property
    def is_filtered(self) -> bool:
        """Whether it is about one route or org."""
        return bool(self._route or self._org)

    @property
    def chosen(self) -> Figures:
        """The figures of what is asked for: all, or those of the route and org."""
        found = Figures()
        for group, figures in self.groups.items():
            if self.has(group.route, group.org):
                found.merge(figures)
        return found

    def by(self, view: View, fixed: Fixed = NOTHING_FIXED) -> Sequence[ViewRow]:
        """Return the rows of a view: the most expensive first, days by date, the rest last.

        With ``fixed`` they are those of the groups with these names alone.
        """
        named: dict[str, Figures] = {}
        rest: dict[str, Figures] = {}
        for group, figures in self.groups.items():
            if any(getattr(group, place) != name for place, name in fixed.items()):
                continue
            left = self._rest_of(group.route, group.org)
            name = getattr(group, view)
            if left or name is None:
                rest.setdefault(left or NOT_LOGGED, Figures()).merge(figures)
            else:
                named.setdefault(name, Figures()).merge(figures)
        rows = [ViewRow(name, figures) for name, figures in named.items()]
        if view == "day":
            rows.sort(key=lambda row: row.name)
        else:
            rows.sort(key=lambda row: (-row.figures.cost, row.name))
        for name in (ELSEWHERE, NOT_LOGGED):
            if name in rest:
                rows.append(ViewRow(name, rest[name], is_rest=True))
        return rows

    def _rest_of(self, route: str | None, org: str | None) -> str:
        """Return the name of the rest that a route and an org are of, empty for none."""
        if not self.is_filtered:
            return ""
        if route is None:
            return NOT_LOGGED
        return "" if self._route in ("", route) and self._org in ("", org) else ELSEWHERE

    def _day(self, at: int) -> str:
        number = at // 86_400_000_000
        if number not in self._days:
            self._days[number] = f"{datetime.fromtimestamp(number * 86_400, UTC):%Y-%m-%d}"
        return self._days[number]


def _place(row: Row) -> tuple[str | None, str | None]:
    return (row.route, row.org) if row.pile == "matched" else (None, None)
