"""Sum the costs of days by what budgets are of: route, org, API key, and calendar period."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from rollout_console.budgets.periods import DAY_S, Period
from rollout_console.budgets.spending import Scope, Spend
from rollout_console.cost.day_cells import Cell
from rollout_console.reconcile.money import EXACT, ZERO
from rollout_console.reconcile.store import KnownKey

_Place = tuple[str, str, str]


class _Sum(msgspec.Struct):
    scope: Scope
    period: Period
    keys: frozenset[str]
    cost: Decimal = ZERO
    loose: Decimal = ZERO
    last_day: Decimal = ZERO
    since: float | None = None
    places: dict[str, dict[str, None]] = msgspec.field(default_factory=dict)
    problem: str = ""


class SpendTally:
    """Sums cells into the scopes of budgets, each cell found by its place and not by a search."""

    def __init__(self, scopes: Mapping[Scope, Period], keys: Sequence[KnownKey]) -> None:
        """``keys`` are all known API keys; a scope with a name has those of that name."""
        self._sums = [_sum_of(scope, period, keys) for scope, period in scopes.items()]
        self._by_place: dict[_Place, list[_Sum]] = {}
        self._by_line: dict[str, list[_Sum]] = {}
        for one in self._sums:
            for key_id in one.keys or {""}:
                if one.problem:
                    continue
                place = one.scope.route, one.scope.org, key_id
                self._by_place.setdefault(place, []).append(one)
                if one.scope.is_by_line:
                    self._by_line.setdefault(key_id, []).append(one)

    def add_day(
        self, day: int, cells: Iterable[tuple[Cell, Decimal]], since: float | None = None
    ) -> None:
        """Add the costs of a day; ``since`` is from when on the log attributes, if not all of it.

        Refunds, which are negative, lower the sums.
        """
        at = day * DAY_S
        for cell, cost in cells:
            for one in self._found(cell):
                if one.period.begins <= at < one.period.ends:
                    one.cost = EXACT.add(one.cost, cost)
                    if cell.route is None:
                        one.loose = EXACT.add(one.loose, cost)
                    elif one.scope.key:
                        one.places.setdefault(cell.route, {})[cell.org or ""] = None
            if cell.route is None:
                for one in self._lined(cell.key_id):
                    if one.period.begins <= at < one.period.ends:
                        one.loose = EXACT.add(one.loose, cost)
        for one in self._sums:
            if since is not None and one.period.begins <= at < one.period.ends:
                one.since = since if one.since is None else max(one.since, since)

    def add_settling(self, day: int, cells: Iterable[tuple[Cell, Decimal]]) -> None:
        """Add records that may still get their line: of keys and of the whole alone."""
        at = day * DAY_S
        for cell, cost in cells:
            for one in self._found(cell):
                if one.period.begins <= at < one.period.ends:
                    one.cost = EXACT.add(one.cost, cost)

    def add_last_day(self, cells: Iterable[tuple[Cell, Decimal]]) -> None:
        """Add the costs of the last 24 hours, whatever period they are of."""
        for cell, cost in cells:
            for one in self._found(cell):
                one.last_day = EXACT.add(one.last_day, cost)

    def found(self) -> list[Spend]:
        """Return what was spent of each scope."""
        return [
            Spend(
                one.scope, one.period.begins, one.cost, one.loose, one.last_day, one.since,
                {route: [*orgs] for route, orgs in one.places.items()}, one.problem,
            )
            for one in self._sums
        ]  # fmt: skip

    def _found(self, cell: Cell) -> Iterable[_Sum]:
        """Yield the scopes that a cell is of: with its route or any, its org or any, and so on."""
        routes = ("",) if cell.route is None else dict.fromkeys(("", cell.route))
        orgs = ("",) if cell.org is None else dict.fromkeys(("", cell.org))
        for route in routes:
            for org in orgs:
                for key_id in dict.fromkeys(("", cell.key_id)):
                    yield from self._by_place.get((route, org, key_id), ())

    def _lined(self, key_id: str) -> Iterable[_Sum]:
        for one in dict.fromkeys(("", key_id)):
            yield from self._by_line.get(one, ())


def _sum_of(scope: Scope, period: Period, keys: Sequence[KnownKey]) -> _Sum:
    if not scope.key:
        return _Sum(scope, period, frozenset())
    found = frozenset(key.id for key in keys if key.id == scope.key)
    found = found or frozenset(key.id for key in keys if key.name == scope.key)
    problem = "" if found else f"TokenLab has no API key {scope.key!r}: correct key, or remove it"
    return _Sum(scope, period, found, problem=problem)
