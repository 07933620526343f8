"""Both sides of a route next to each other: what TokenLab billed, what the previous side costs.

The previous side's cost is that of the tokens in its lines of the log, at the prices that the
rollout file has for it (``[routes.X.previous_price]``): nobody reads that provider's bill.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from rollout_console.cost.bill import Bill, Figures, Fixed, View, ViewRow
from rollout_console.reconcile.log_lines import PreviousLines
from rollout_console.reconcile.money import EXACT
from rollout_gate.file.model import PreviousPrice, RolloutFile

_THOUSAND, _MILLION = Decimal(1000), Decimal(1_000_000)
_MILLIONTH = -6


class SideBySide(msgspec.Struct, frozen=True):
    """A route's two sides: ``priced`` of the previous side's requests are in its exact ``cost``.

    A request without tokens in the log has no cost where the price is of tokens.
    """

    route: str
    tokenlab: Figures
    previous: PreviousLines
    priced: int
    cost: Decimal

    @property
    def per_thousand(self) -> Decimal | None:
        """The previous side's cost per 1,000 requests, rounded; None without a request."""
        return self.cost * _THOUSAND / self.priced if self.priced else None

    @property
    def per_million(self) -> Decimal | None:
        """The previous side's cost per million tokens, rounded; None without any."""
        tokens = self.previous.tokens_in + self.previous.tokens_out
        return self.cost * _MILLION / tokens if tokens else None

    @property
    def change(self) -> Decimal | None:
        """How much more a request costs on TokenLab, in percent, rounded; None if not known."""
        ours, theirs = self.tokenlab.per_thousand, self.per_thousand
        return (ours - theirs) * 100 / theirs if ours is not None and theirs else None


def cost_of(lines: PreviousLines, price: PreviousPrice) -> tuple[int, Decimal]:
    """Return how many requests have a known cost at a price, and that cost, exactly."""
    tokens = EXACT.add(
        EXACT.multiply(price.input_per_1m, Decimal(lines.tokens_in)),
        EXACT.multiply(price.output_per_1m, Decimal(lines.tokens_out)),
    )
    priced = lines.with_tokens if price.input_per_1m or price.output_per_1m else lines.requests
    each = EXACT.multiply(price.per_request, Decimal(priced))
    return priced, EXACT.add(EXACT.scaleb(tokens, _MILLIONTH), each)


def side_by_side(
    file: RolloutFile, bill: Bill, previous: Mapping[tuple[str, str], PreviousLines]
) -> Sequence[SideBySide]:
    """Return the routes that have prices of the previous side, in the order of the file."""
    found = []
    for name, route in file.routes.items():
        if route.previous_price is None:
            continue
        lines = PreviousLines()
        for (of_route, org), some in previous.items():
            if of_route == name and bill.has(of_route, org):
                lines.merge(some)
        figures = Figures()
        for group, one in bill.groups.items():
            if group.route == name and bill.has(group.route, group.org):
                figures.merge(one)
        if figures.requests or lines.requests:
            priced, cost = cost_of(lines, route.previous_price)
            found.append(SideBySide(name, figures, lines, priced, cost))
    return found


def sides_of_rows(
    file: RolloutFile, previous: Mapping[tuple[str, str], PreviousLines], view: View,
    fixed: Fixed, rows: Sequence[ViewRow],
) -> Mapping[str, SideBySide]:  # fmt: skip
    """Return the two sides of a view's rows by name, where they can be told next to each other.

    That is each route with prices, and each org within one such route: the previous side's lines
    have no API key, and their model and day are not kept.
    """
    if view not in ("route", "org") or fixed.keys() - {"route", "org"}:
        return {}
    route, org = fixed.get("route"), fixed.get("org")
    if view == "org" and route is None:
        return {}
    found = {}
    for row in rows:
        name, of_org = (row.name, org) if view == "route" else (str(route), row.name)
        price = None if row.is_rest or name not in file.routes else file.routes[name].previous_price
        if price is None:
            continue
        lines = PreviousLines()
        for place, some in previous.items():
            if place[0] == name and of_org in (None, place[1]):
                lines.merge(some)
        priced, cost = cost_of(lines, price)
        found[row.name] = SideBySide(name, row.figures, lines, priced, cost)
    return found
