"""Sums by route, org, key and period: whatever the cells, the parts add up to the whole."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from rollout_console.budgets.periods import DAY_S, Period, period_at
from rollout_console.budgets.spending import Scope, Spend
from rollout_console.cost.day_cells import Cell
from rollout_console.cost.spend_tally import SpendTally
from rollout_console.reconcile.store import KnownKey

FIRST = 20_000
KEYS = [KnownKey("k1", "prod", "active", 0, True), KnownKey("k2", "batch", "active", 0, True),
        KnownKey("k3", "prod", "revoked", 0, True)]  # fmt: skip
ROUTES, ORGS, IDS = ("chat", "clips"), ("acme", "", "prod"), ("k1", "k2", "k3")
matched = st.builds(Cell, st.sampled_from(ROUTES), st.sampled_from(ORGS), st.sampled_from(IDS))
loose = st.builds(Cell, st.none(), st.none(), st.sampled_from(IDS))
costs = st.decimals(-(10**6), 10**9, places=12)
cells = st.lists(
    st.tuples(st.integers(FIRST, FIRST + 40), st.one_of(matched, loose), costs), max_size=40
)


def scope(**named: str) -> Scope:
    return Scope(**{"route": "", "org": "", "key": "", "per": "month", **named})  # type: ignore[arg-type]


@given(cells)
def test_parts_add_up_to_the_whole(drawn: list[tuple[int, Cell, Decimal]]) -> None:
    month = period_at("month", (FIRST + 20) * DAY_S)
    scopes: dict[Scope, Period] = {scope(): month}
    scopes |= {scope(route=one): month for one in ROUTES}
    scopes |= {scope(key=one): month for one in (*IDS, "prod", "batch", "nobody")}
    tally = SpendTally(scopes, KEYS)
    for day, cell, cost in drawn:
        tally.add_day(day, [(cell, cost)])
    found: dict[Scope, Spend] = {one.scope: one for one in tally.found()}
    inside = [
        (cell, cost)
        for day, cell, cost in drawn
        if month.begins <= day * DAY_S < month.ends
    ]  # fmt: skip
    whole = found[scope()]
    assert whole.cost == sum((cost for _, cost in inside), Decimal(0))
    by_route = sum((found[scope(route=one)].cost for one in ROUTES), Decimal(0))
    assert by_route + whole.unattributed == whole.cost
    assert sum((found[scope(key=one)].cost for one in IDS), Decimal(0)) == whole.cost
    # Of two keys with one name, a rotated one and its successor, both are counted.
    prod, batch = found[scope(key="prod")], found[scope(key="batch")]
    assert prod.cost + batch.cost == whole.cost
    assert batch.cost == found[scope(key="k2")].cost
    assert found[scope(key="nobody")].problem.startswith("TokenLab has no API key 'nobody'")
    for one in ROUTES:
        assert found[scope(route=one)].unattributed == whole.unattributed
    places = {(route, org) for route, orgs in prod.places.items() for org in orgs}
    assert places == {(c.route, c.org) for c, _ in inside if c.route and c.key_id in ("k1", "k3")}
