"""Explain the difference of two bills: price, volume, mix, tokens, retries, new and gone orgs.

Laspeyres decomposition by successive substitution, for each route and org that both periods have:
first the number of requests changes (volume), then the share of each model (mix), then the tokens
of a request, then what they cost (price). Each step is an exact fraction, and the steps telescope
to the difference; they are rounded to the digits of the bill, and the rest of the rounding goes to
the largest, so that the causes add up to the difference, to the last digit.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal, get_args

import msgspec

from rollout_console.cost.bill import NOT_LOGGED
from rollout_console.reconcile.money import EXACT, ZERO, total
from rollout_console.reconcile.piles import Row

Cause = Literal[
    "price", "volume", "mix", "tokens per request", "retries and duplicates",
    "new org or route", "gone org or route", "refunds",
]  # fmt: skip
CAUSES: tuple[Cause, ...] = get_args(Cause)

EVERYWHERE = "(all routes and orgs)"
"""Where a part is of a sample without places: the log may well have lines of it."""

Place = tuple[str, str] | None
"""A route and an org; None for what the log does not have, and of a sample without places all."""

_LEAST_DIGITS = 6
_MOST_QUANTITY = 30
_MILLION = 1_000_000


class Load(msgspec.Struct):
    """Charges of one model at one place: ``first`` and ``second`` are tokens in and out.

    Where a record has no tokens, ``first`` is its quantity, such as seconds or images.
    """

    requests: int = 0
    cost: Decimal = ZERO
    first: Decimal = ZERO
    second: Decimal = ZERO

    def add(self, cost: Decimal, first: Decimal, second: Decimal) -> None:
        """Count a charge."""
        self.requests += 1
        self.cost = EXACT.add(self.cost, cost)
        self.first = EXACT.add(self.first, first)
        self.second = EXACT.add(self.second, second)


class Fit(msgspec.Struct):
    """The sums of a least-squares fit of a model's prices: cost = a * first + b * second."""

    xx: Decimal = ZERO
    xy: Decimal = ZERO
    yy: Decimal = ZERO
    cx: Decimal = ZERO
    cy: Decimal = ZERO
    all: Load = msgspec.field(default_factory=Load)

    def add(self, cost: Decimal, first: Decimal, second: Decimal) -> None:
        """Count a charge."""
        self.xx = EXACT.fma(first, first, self.xx)
        self.xy = EXACT.fma(first, second, self.xy)
        self.yy = EXACT.fma(second, second, self.yy)
        self.cx = EXACT.fma(cost, first, self.cx)
        self.cy = EXACT.fma(cost, second, self.cy)
        self.all.add(cost, first, second)

    def prices(self) -> "Prices":
        """Return the prices of one unit in and out; exact where every charge was at them.

        Where the charges cannot tell them apart, both are the average price of a unit.
        """
        xx, xy, yy, cx, cy = map(Fraction, (self.xx, self.xy, self.yy, self.cx, self.cy))
        determinant = xx * yy - xy * xy
        if determinant:
            first = (cx * yy - cy * xy) / determinant
            second = (cy * xx - cx * xy) / determinant
            if first >= 0 and second >= 0:
                return first, second
        units = Fraction(self.all.first) + Fraction(self.all.second)
        average = Fraction(self.all.cost) / units if units else Fraction(0)
        return average, average


Prices = tuple[Fraction, Fraction]
"""The price of one unit in and out."""


def prices_of(
    earlier: Fit, now: Fit
) -> tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]:
    """Return the prices of both periods: the same ones where these explain both costs exactly.

    So a change of tokens is told from one of prices also where all requests of a period are alike.
    """
    both = Fit(
        EXACT.add(earlier.xx, now.xx), EXACT.add(earlier.xy, now.xy),
        EXACT.add(earlier.yy, now.yy), EXACT.add(earlier.cx, now.cx),
        EXACT.add(earlier.cy, now.cy),
    )  # fmt: skip
    both.all.add(
        EXACT.add(earlier.all.cost, now.all.cost),
        EXACT.add(earlier.all.first, now.all.first),
        EXACT.add(earlier.all.second, now.all.second),
    )
    first, second = both.prices()
    if all(
        first * Fraction(one.all.first) + second * Fraction(one.all.second)
        == Fraction(one.all.cost)
        for one in (earlier, now)
    ):
        return (first, second), (first, second)
    return earlier.prices(), now.prices()


Model = tuple[str, str]
"""A model, and the unit that its records count."""


class Sample:
    """What the explanation needs of one period, in memory that grows with orgs and models alone.

    Without ``places`` all is of one place: the log does not go back far enough to tell them apart.
    """

    def __init__(self, *, places: bool = True) -> None:
        self.has_places = places
        self.cost = ZERO
        self.loads: dict[Place, dict[Model, Load]] = {}
        self.fits: dict[Model, Fit] = {}
        self.repeated: dict[Place, Load] = {}
        self.refunds: dict[Place, Load] = {}

    def add(self, row: Row) -> None:
        """Count a row that is a usage record."""
        if row.cost is None:
            return
        self.cost = EXACT.add(self.cost, row.cost)
        place = (row.route, row.org) if self.has_places and row.pile == "matched" else None
        if row.cost < 0:
            self.refunds.setdefault(place, Load()).add(row.cost, ZERO, ZERO)
        elif row.attempt > 1 or row.reason == "charged again":
            self.repeated.setdefault(place, Load()).add(row.cost, ZERO, ZERO)
        else:
            first, second = _units(row)
            model = row.model, row.unit
            loads = self.loads.setdefault(place, {})
            loads.setdefault(model, Load()).add(row.cost, first, second)
            self.fits.setdefault(model, Fit()).add(row.cost, first, second)

    @property
    def routes(self) -> set[str]:
        """The routes that have charges."""
        return {place[0] for place in self.loads if place is not None}


class Item(msgspec.Struct, frozen=True):
    """A part of the difference: its exact amount, where it is, and the figures it is from."""

    cause: Cause
    amount: Decimal
    where: str
    why: str


class Difference(msgspec.Struct, frozen=True):
    """A difference with its parts, the largest first; they add up to it."""

    earlier: Decimal
    now: Decimal
    items: Sequence[Item]

    @property
    def amount(self) -> Decimal:
        """How much more the bill is than the earlier one."""
        return EXACT.subtract(self.now, self.earlier)

    @property
    def causes(self) -> Mapping[Cause, Decimal]:
        """The sum of each cause, the largest first."""
        sums = {
            cause: total(item.amount for item in self.items if item.cause == cause)
            for cause in CAUSES
        }
        return dict(sorted(sums.items(), key=lambda pair: -abs(pair[1])))


def explain(earlier: Sample, now: Sample) -> Difference:
    """Return what the difference of two periods is from."""
    items = [item for item in _items(earlier, now) if item.amount]
    items.sort(key=lambda item: (-abs(item.amount), item.cause, item.where, item.why))
    return Difference(earlier.cost, now.cost, items)


def _items(earlier: Sample, now: Sample) -> Iterator[Item]:
    whole = NOT_LOGGED if now.has_places else EVERYWHERE
    repeated: tuple[tuple[Cause, dict[Place, Load], dict[Place, Load], str], ...] = (
        ("retries and duplicates", earlier.repeated, now.repeated, "charges"),
        ("refunds", earlier.refunds, now.refunds, "refunds"),
    )
    for cause, before, after, what in repeated:
        for place in {**before, **after}:
            one, two = before.get(place, Load()), after.get(place, Load())
            why = f"{one.requests:,} to {two.requests:,} {what}"
            yield Item(cause, EXACT.subtract(two.cost, one.cost), _where(place, whole), why)
    digits = max(
        [_LEAST_DIGITS] + [_digits(load.cost) for one in (earlier, now) for load in _loads_of(one)]
    )
    for place in {**earlier.loads, **now.loads}:
        before_models, after_models = earlier.loads.get(place, {}), now.loads.get(place, {})
        if before_models and after_models:
            for model in {**before_models, **after_models}:
                yield from _model_items(earlier, now, place, model, digits)
            continue
        loads = before_models or after_models
        cost = total(load.cost for load in loads.values())
        count = sum(load.requests for load in loads.values())
        if before_models:
            gone = f"{_many(count)}, and none now"
            yield Item("gone org or route", EXACT.minus(cost), _where(place, whole), gone)
        else:
            is_route = place is not None and place[0] not in earlier.routes
            new = "a new route" if is_route else "a new org" if place else "none before"
            yield Item("new org or route", cost, _where(place, whole), f"{new}, {_many(count)}")


def _loads_of(sample: Sample) -> Iterator[Load]:
    for loads in sample.loads.values():
        yield from loads.values()


def _model_items(
    earlier: Sample, now: Sample, place: Place, model: Model, digits: int
) -> Iterator[Item]:
    """Yield the parts of the difference of one model at a place that both periods have."""
    befores, afters = earlier.loads[place], now.loads[place]
    before, after = befores.get(model, Load()), afters.get(model, Load())
    whole_before = sum(load.requests for load in befores.values())
    whole_after = sum(load.requests for load in afters.values())
    cost_before, cost_after = Fraction(before.cost), Fraction(after.cost)
    volume = cost_before * Fraction(whole_after - whole_before, whole_before)
    mix = tokens = price = Fraction(0)
    tokens_why = price_why = ""
    if before.requests and after.requests:
        each = cost_before / before.requests
        mix = (after.requests - Fraction(whole_after * before.requests, whole_before)) * each
        one, two = prices_of(earlier.fits[model], now.fits[model])
        firsts = _each(before.first, before), _each(after.first, after)
        seconds = _each(before.second, before), _each(after.second, after)
        each_more = one[0] * (firsts[1] - firsts[0]) + one[1] * (seconds[1] - seconds[0])
        tokens = after.requests * each_more
        price = cost_after - after.requests * each - tokens
        tokens_why = f"{_pair(firsts)} in, {_pair(seconds)} out, a request"
        is_tokens = model[1].startswith("token") or bool(before.second or after.second)
        scale, unit = (_MILLION, "million tokens") if is_tokens else (1, model[1] or "unit")
        price_why = f"{_prices(one[0], two[0], scale)} in, {_prices(one[1], two[1], scale)} out"
        if not is_tokens:
            tokens_why = f"{_pair(firsts)} {unit} a request"
            price_why = _prices(one[0], two[0], scale)
        price_why += f" per {unit}"
    else:  # a model that is new at this place, or gone from it
        mix = cost_after - cost_before - volume
    parts: tuple[tuple[Cause, Fraction, str], ...] = (
        ("volume", volume, f"{whole_before:,} to {whole_after:,} requests"),
        ("mix", mix, f"{before.requests:,} of {whole_before:,} to {after.requests:,} of"
         f" {whole_after:,} requests"),
        ("tokens per request", tokens, tokens_why),
        ("price", price, price_why),
    )  # fmt: skip
    difference = EXACT.subtract(after.cost, before.cost)
    amounts = rounded([part for _, part, _ in parts], difference, digits)
    where = f"{_where(place, NOT_LOGGED if now.has_places else EVERYWHERE)}  {model[0]}"
    for (cause, _, why), amount in zip(parts, amounts, strict=True):
        yield Item(cause, amount, where, why)


def rounded(parts: Sequence[Fraction], whole: Decimal, digits: int) -> list[Decimal]:
    """Round fractions to decimal digits so that they add up to their sum ``whole`` exactly.

    What rounding leaves goes to the largest of them: one that is nothing stays nothing.
    """
    scale = 10**digits
    units = [round(part * scale) for part in parts]
    left = Fraction(whole) * scale - sum(units)
    largest = max(range(len(parts)), key=lambda index: abs(parts[index]))
    units[largest] += int(left)
    return [EXACT.scaleb(Decimal(unit), -digits) for unit in units]


def _units(row: Row) -> tuple[Decimal, Decimal]:
    if row.tokens_in or row.tokens_out:
        return Decimal(row.tokens_in), Decimal(row.tokens_out)
    try:
        quantity = Decimal(row.quantity) if len(row.quantity) <= _MOST_QUANTITY else ZERO
    except InvalidOperation:
        return ZERO, ZERO
    is_usable = quantity.is_finite() and -_MOST_QUANTITY < quantity.adjusted() < _MOST_QUANTITY
    return (quantity, ZERO) if is_usable else (ZERO, ZERO)


def _each(units: Decimal, load: Load) -> Fraction:
    return Fraction(units) / load.requests


def _digits(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


def _where(place: Place, whole: str) -> str:
    return f"{place[0]} / {place[1]}" if place is not None else whole


def _many(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def _pair(both: tuple[Fraction, Fraction]) -> str:
    return " to ".join(map(_amount, both))


def _prices(before: Fraction, after: Fraction, scale: int) -> str:
    return f"${_amount(before * scale)} to ${_amount(after * scale)}"


def _amount(number: Fraction) -> str:
    text = f"{float(number):,.4f}".rstrip("0").rstrip(".")
    return text or "0"
