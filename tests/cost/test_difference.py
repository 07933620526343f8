"""The parts of a difference add up to it, to the last digit, whatever both periods are like."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.cost.difference import Fit, Sample, explain, prices_of, rounded
from rollout_console.reconcile.money import EXACT, total
from rollout_console.reconcile.piles import Row

records = st.builds(
    Row,
    pile=st.sampled_from(["matched", "matched", "matched", "billed-only", "settling"]),
    route=st.sampled_from(["chat", "clips"]),
    org=st.sampled_from(["acme", "globex"]),
    model=st.sampled_from(["gpt-5.4", "gpt-5.4-mini"]),
    unit=st.sampled_from(["token", "second", ""]),
    quantity=st.sampled_from(["0", "1", "12.5", "NaN", "-3", "", "much", "1e999", "9" * 40]),
    cost=st.decimals("-1", "50", places=17, allow_nan=False),
    tokens_in=st.integers(0, 4000),
    tokens_out=st.integers(0, 4000),
    attempt=st.sampled_from([1, 1, 1, 2, 5]),
    reason=st.sampled_from(["", "", "charged again", "not in the log"]),
)


def sample_of(rows: list[Row], *, places: bool = True) -> Sample:
    sample = Sample(places=places)
    for row in rows:
        sample.add(row)
    return sample


@settings(max_examples=300)
@given(
    before=st.lists(records, max_size=30), after=st.lists(records, max_size=30),
    places=st.booleans(),
)  # fmt: skip
def test_the_parts_add_up(before: list[Row], after: list[Row], places: bool) -> None:
    earlier, now = sample_of(before, places=places), sample_of(after, places=places)
    found = explain(earlier, now)
    costs = [total(row.cost or Decimal(0) for row in rows) for rows in (before, after)]
    assert (found.earlier, found.now) == tuple(costs)
    assert found.amount == EXACT.subtract(costs[1], costs[0])
    assert total(item.amount for item in found.items) == found.amount
    assert total(found.causes.values()) == found.amount
    assert not any(item.amount == 0 for item in found.items)


@settings(max_examples=100)
@given(rows=st.lists(records, max_size=30))
def test_equal_periods_have_no_parts(rows: list[Row]) -> None:
    assert explain(sample_of(rows), sample_of(rows)).items == []


@settings(max_examples=200)
@given(
    parts=st.lists(st.fractions(-1000, 1000, max_denominator=9999), min_size=1, max_size=6),
    whole=st.decimals("-1000", "1000", places=9, allow_nan=False),
)
def test_rounding_keeps_the_sum_and_nothing_is_made_of_nothing(
    parts: list[Fraction], whole: Decimal
) -> None:
    parts.append(Fraction(whole) - sum(parts))
    amounts = rounded(parts, whole, 9)
    assert total(amounts) == whole
    for part, amount in zip(parts, amounts, strict=True):
        assert abs(Fraction(amount) - part) <= Fraction(len(parts), 2 * 10**9)
        assert part or not amount


def charged(tokens: tuple[int, int], price: tuple[str, str]) -> tuple[Decimal, Decimal, Decimal]:
    first, second = map(Decimal, tokens)
    return Decimal(price[0]) * first + Decimal(price[1]) * second, first, second


def fit_of(price: tuple[str, str], *tokens: tuple[int, int]) -> Fit:
    fit = Fit()
    for one in tokens:
        fit.add(*charged(one, price))
    return fit


def test_prices_are_found_exactly() -> None:
    prices = "0.0000025", "0.000015"
    assert fit_of(prices, (100, 20), (130, 7), (1, 900)).prices() == tuple(map(Fraction, prices))


def test_equal_requests_have_an_average_price() -> None:
    assert fit_of(("2", "10"), (10, 30), (10, 30)).prices() == (Fraction(8), Fraction(8))
    assert fit_of(("2", "10")).prices() == (Fraction(0), Fraction(0))


def test_two_periods_tell_the_prices_that_neither_tells_alone() -> None:
    earlier, now = fit_of(("2", "10"), (10, 30)), fit_of(("2", "10"), (10, 60))
    two, four, ten = map(Fraction, (2, 4, 10))
    assert prices_of(earlier, now) == ((two, ten), (two, ten))
    dearer = fit_of(("4", "10"), (10, 30), (20, 10))
    assert prices_of(fit_of(("2", "10"), (10, 30), (20, 10)), dearer) == ((two, ten), (four, ten))
