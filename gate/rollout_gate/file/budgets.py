"""Parse the budgets of a rollout file; no decision depends on them."""

from collections.abc import Mapping
from decimal import Decimal

from rollout_gate.file.model import (
    AT_LIMIT,
    BUDGET_PERIODS,
    AtLimit,
    Budget,
    BudgetPeriod,
    Route,
)
from rollout_gate.file.validation import Fields


def budgets_from(fields: Fields, routes: Mapping[str, Route]) -> dict[str, Budget]:
    """Return the budgets by name; one of a route or an org that the file has not is a warning."""
    return {name: _budget(name, fields.table(name), routes) for name in fields.names()}


def _budget(name: str, fields: Fields, routes: Mapping[str, Route]) -> Budget:
    if not name:
        fields.error((), "a budget needs a name")
    budget = Budget(
        name=name,
        limit_usd=fields.amount("limit_usd") or Decimal(1),
        per=_per(fields.choice("per", BUDGET_PERIODS, None)),
        route=fields.name("route"),
        org=fields.name("org"),
        key=fields.name("key"),
        at_limit=_at_limit(fields.choice("at_limit", AT_LIMIT, "hold")),
    )
    fields.warn_unknown()
    if budget.route and budget.route not in routes:
        fields.warn(("route",), "names a route that the file does not have: nothing is of it")
    elif budget.org and not _may_have(budget, routes):
        where = f"the route {budget.route}" if budget.route else "any route"
        fields.warn(("org",), f"names an org without a line on {where}, and without a share there")
    return budget


def _may_have(budget: Budget, routes: Mapping[str, Route]) -> bool:
    """Return whether an org has a line, or may have traffic by a share of several orgs."""
    some = [routes[budget.route]] if budget.route else routes.values()
    return any(
        budget.org in route.orgs
        or route.default_points
        or any(route.keys.values())
        or any(route.flags.values())
        for route in some
    )


def _per(name: str) -> BudgetPeriod:
    return "day" if name == "day" else "week" if name == "week" else "month"


def _at_limit(name: str) -> AtLimit:
    return "lower" if name == "lower" else "hold"
