"""Every view of a bill adds up to it, to the last digit, whatever is billed."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.cost.bill import ELSEWHERE, NOT_LOGGED, VIEWS, Bill, Figures
from rollout_console.cost.text import rate
from rollout_console.reconcile.money import total
from rollout_console.reconcile.piles import Row

AMOUNTS = st.one_of(
    st.decimals("-5", "1000", places=18, allow_nan=False),
    st.integers(-(10**30), 10**32).map(lambda n: Decimal(n).scaleb(-30)),
)
records = st.builds(
    Row,
    pile=st.sampled_from(["matched", "matched", "billed-only", "settling"]),
    at=st.integers(1_790_000_000_000_000, 1_790_600_000_000_000),
    key_id=st.sampled_from(["key_1", "key_2"]),
    route=st.sampled_from(["chat", "clips"]),
    org=st.sampled_from(["acme", "globex", NOT_LOGGED]),
    model=st.sampled_from(["gpt-5.4", "gpt-5.4-mini", ""]),
    cost=AMOUNTS,
    tokens_in=st.integers(0, 10**6),
    tokens_out=st.integers(0, 10**6),
)
alone = st.builds(Row, pile=st.just("logged-only"), line_at=st.just(1), route=st.just("chat"))


def bill_of(rows: list[Row], **given: Any) -> Bill:
    bill = Bill(**given)
    for row in rows:
        bill.add(row)
    return bill


@settings(max_examples=200)
@given(
    rows=st.lists(st.one_of(records, alone), max_size=40),
    route=st.sampled_from(["", "chat", "other"]), org=st.sampled_from(["", "acme", NOT_LOGGED]),
)  # fmt: skip
def test_the_rows_of_every_view_add_up(rows: list[Row], route: str, org: str) -> None:
    bill = bill_of(rows, route=route, org=org)
    billed = [row for row in rows if row.cost is not None]
    whole = total(row.cost for row in billed if row.cost is not None)
    assert bill.all.cost == whole
    assert bill.all.requests + bill.all.refunds == len(billed)
    of_rest = [one for one in billed if one.pile == "settling"]
    assert bill.settling.requests + bill.settling.refunds == len(of_rest)
    wanted = [
        row for row in billed
        if not (route or org)
        or (row.pile == "matched" and route in ("", row.route) and org in ("", row.org))
    ]  # fmt: skip
    assert bill.chosen.cost == total(row.cost for row in wanted if row.cost is not None)
    for view in VIEWS:
        found = bill.by(view)
        assert total(row.figures.cost for row in found) == whole
        assert sum(row.figures.requests for row in found) == bill.all.requests
        assert sum(row.figures.refunds for row in found) == bill.all.refunds
        assert sum(row.figures.tokens for row in found) == bill.all.tokens
        named = [row.name for row in found if not row.is_rest]
        assert len(named) == len(set(named))
        assert {row.name for row in found if row.is_rest} <= {NOT_LOGGED, ELSEWHERE}
        named_cost = total(row.figures.cost for row in found if not row.is_rest)
        if view in ("route", "org") or route or org:
            matched = [row for row in wanted if row.pile == "matched"]
            assert named_cost == total(row.cost for row in matched if row.cost is not None)
        else:
            assert named_cost == whole


def test_rows_are_sorted_and_days_are_in_utc() -> None:
    midnight = 1_790_035_200_000_000
    rows = [
        Row("matched", at=midnight - 1, model="a", cost=Decimal(1)),
        Row("matched", at=midnight, model="b", cost=Decimal(3)),
    ]
    bill = bill_of(rows)
    assert [row.name for row in bill.by("model")] == ["b", "a"]
    assert [row.name for row in bill.by("day")] == ["2026-09-21", "2026-09-22"]


def test_what_has_no_tokens_is_not_in_the_price_of_tokens() -> None:
    found = bill_of(
        [
            Row("matched", at=1, cost=Decimal("0.25"), tokens_in=100, tokens_out=400),
            Row("matched", at=1, cost=Decimal(7)),
            Row("matched", at=1, cost=Decimal("-0.5")),
        ]
    ).all
    assert found.cost == Decimal("6.75")
    assert (found.requests, found.refunds) == (2, 1)
    assert found.per_million == 500
    assert found.per_thousand == 3375
    assert Figures().per_thousand is None
    assert Figures().per_million is None


def test_rates_of_any_size_are_shown() -> None:
    assert rate(Decimal("0.0000004")) == "$0.00"
    assert rate(Decimal("1234.5678915")) == "$1,234.567892"
    assert rate(Decimal("1E+40")) == f"${10**40:,}.00"
    assert rate(None) == "-"
