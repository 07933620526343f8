"""Costs as a short text: bill, burn, runway, views, and what explains a difference."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

from rollout_console.common.durations import seconds_text
from rollout_console.common.safe_text import visible
from rollout_console.cost.bill import VIEWS, WIDE, Figures, View, ViewRow
from rollout_console.cost.burn import DAY_S, Runway
from rollout_console.cost.costs import Costs
from rollout_console.cost.difference import Difference
from rollout_console.reconcile.money import plain
from rollout_console.reconcile.reconciliation import SETTLE_ASYNC_S, SETTLE_S
from rollout_gate.secret import redacted

_OVERVIEW_ROWS = 5
_MOST_ITEMS = 5
_NAME = 20
_LEAST_RATE = Decimal("0.000001")
_LABEL = 12
_SETTLE = (
    f"text settles within {seconds_text(SETTLE_S)}, tasks within {seconds_text(SETTLE_ASYNC_S)}"
)


def as_text(costs: Costs, view: View | None, limit: int = 0) -> Iterator[str]:
    """Yield the lines of the text: of one view, all its rows, or of all, their first ones."""
    asked = costs.asked
    since, until = (_time(at) for at in (asked.since, asked.until))
    yield f"{since} to {until}  profile {_said(costs.profile)} at {_said(costs.base_url)}"
    yield _age(costs)
    yield ""
    yield from _bill(costs)
    yield from _burn(costs)
    yield from _sides(costs)
    for shown in (view,) if view else VIEWS:
        yield ""
        yield from view_text(costs, shown, limit if view else _OVERVIEW_ROWS)
    if costs.difference is not None:
        yield ""
        yield from _difference(costs, costs.difference)


def view_text(costs: Costs, view: View, limit: int = 0) -> Iterator[str]:
    """Yield a view as a table; with a ``limit`` the rows after it are one."""
    rows = costs.bill.by(view)
    names = [_said(name_of(costs, view, row)) for row in rows]
    named = sum(not row.is_rest for row in rows)
    shown = list(zip(names, rows, strict=True))
    if limit and named > limit:
        rest = Figures()
        hidden = rows[:-limit] if view == "day" else rows[limit:]
        hidden = [row for row in hidden if not row.is_rest]
        for row in hidden:
            rest.merge(row.figures)
        word = "earlier" if view == "day" else "more"
        more = (f"({len(hidden):,} {word}: --by {view})", ViewRow("", rest, is_rest=True))
        kept = [pair for pair in shown if pair[1] not in hidden]
        place = 0 if view == "day" else limit
        shown = [*kept[:place], more, *kept[place:]]
    width = max([_NAME, *(len(name) for name, _ in shown)])
    amounts = [f"${plain(row.figures.cost)}" for _, row in shown]
    wide = max([8, *map(len, amounts)])
    yield (
        f"{f'by {view}':<{width}}  {'cost':<{wide}}  {'part':>6}  {'requests':>9}"
        f"  {'tokens':>12}  {'per 1,000':>10}  {'per 1M tokens':>13}"
    )
    for (name, row), amount in zip(shown, amounts, strict=True):
        one = row.figures
        yield (
            f"{name:<{width}}  {amount:<{wide}}  {_part(one.cost, costs.bill.all.cost):>6}"
            f"  {one.requests:>9,}  {one.tokens:>12,}  {rate(one.per_thousand):>10}"
            f"  {rate(one.per_million):>13}"
        )


def name_of(costs: Costs, view: View, row: ViewRow) -> str:
    """Return the name of a row: of a key its name, with the id where several have it."""
    if view != "key" or row.is_rest:
        return row.name or "(none)"
    name = costs.key_name(row.name)
    alike = sum(key.name == name for key in costs.keys)
    return f"{name} ({row.name})" if alike > 1 else name


def rate(amount: Decimal | None) -> str:
    """Return a rounded price with 2 to 6 decimals; a dash where there is none."""
    if amount is None:
        return "-"
    text = f"{amount.quantize(_LEAST_RATE, ROUND_HALF_EVEN, WIDE):,f}"
    whole, _, decimals = text.partition(".")
    return f"${whole}.{decimals.rstrip('0'):0<2}"


def _age(costs: Costs) -> str:
    read = f"read up to {_time(costs.horizon)}, {seconds_text(costs.age_s)} ago"
    if not costs.is_settling:
        return f"{read}; all of the period has settled"
    count = costs.bill.settling.requests + costs.bill.settling.refunds
    waits = f"; without a line yet: {_many(count, 'record')}" if count else ""
    return f"{read}; the last hour is incomplete: {_SETTLE}{waits}"


def _bill(costs: Costs) -> Iterator[str]:
    one = costs.bill.all
    title = "bill" if not costs.asked.key else "bill of key"
    yield f"{title:<{_LABEL}}{_figures(one)}"
    if costs.bill.is_filtered:
        yield f"{'of these':<{_LABEL}}{_figures(costs.bill.chosen)}"


def _figures(one: Figures) -> str:
    refunds = f", {_many(one.refunds, 'refund')}" if one.refunds else ""
    return (
        f"${plain(one.cost)}  {_many(one.requests, 'request')}{refunds}, {one.tokens:,} tokens;"
        f" {rate(one.per_thousand)} per 1,000 requests, {rate(one.per_million)} per million tokens"
    )


def _burn(costs: Costs) -> Iterator[str]:
    burn = costs.burn
    before = burn.before_a_day
    words = "; nothing is known of the time before"
    if before is not None and burn.before_days is not None:
        change = "" if burn.change is None else f" ({burn.change:+.1f}%)"
        span = seconds_text(float(burn.before_days) * 86_400)
        words = f", {rate(before)} a day in the {span} before{change}"
    of = "24 h" if burn.span_s >= DAY_S else seconds_text(burn.span_s)
    yield f"{'burn':<{_LABEL}}${plain(burn.cost)} in the {of} up to {_time(burn.until)}{words}"
    if costs.balance is not None:
        yield f"{'balance':<{_LABEL}}${plain(costs.balance.left)}: {_lasts(costs.balance)}"
    elif not costs.limits:
        why = "not asked for" if costs.asked.offline else "see the warnings"
        if not costs.asked.key:
            yield f"{'balance':<{_LABEL}}{why}"
    for one in costs.limits:
        name = _said(costs.key_name(one.key))
        limit = plain(one.limit) if one.limit is not None else "-"
        yield f"{'key':<{_LABEL}}{name}: ${plain(one.left)} left of ${limit}: {_lasts(one)}"


def _sides(costs: Costs) -> Iterator[str]:
    if not costs.sides:
        return
    yield ""
    width = max([_NAME, *(len(_said(one.route)) for one in costs.sides)])
    yield (
        f"{'side by side':<{width}}  {'per 1,000':>10}  {'previous':>10}  {'':>8}"
        f"  {'per 1M tokens':>13}  {'previous':>10}"
    )
    for one in costs.sides:
        change = "" if one.change is None else f"{one.change:+.1f}%"
        left = one.previous.requests - one.priced
        words = f"  {_many(left, 'request')} without tokens left out" if left else ""
        yield (
            f"{_said(one.route):<{width}}  {rate(one.tokenlab.per_thousand):>10}"
            f"  {rate(one.per_thousand):>10}  {change:>8}"
            f"  {rate(one.tokenlab.per_million):>13}  {rate(one.per_million):>10}{words}"
        )


def _lasts(one: Runway) -> str:
    if one.seconds is None:
        return "nothing is spent"
    return f"lasts {seconds_text(one.seconds)} at this burn" if one.seconds else "nothing is left"


def _difference(costs: Costs, found: Difference) -> Iterator[str]:
    asked = costs.asked
    shift = asked.against_s or 0.0
    since, until = (_time(at - shift) for at in (asked.since, asked.until))
    yield f"against {since} to {until}, {seconds_text(shift)} before"
    of = found.amount * 100 / found.earlier if found.earlier > 0 else None
    percent = "" if of is None else f" ({of:+.1f}%)"
    yield (
        f"{'difference':<24}{signed(found.amount)}{percent}:"
        f" ${plain(found.earlier)} to ${plain(found.now)}"
    )
    for cause, amount in found.causes.items():
        if not amount:
            continue
        yield f"  {cause:<22}{signed(amount)}"
        items = [item for item in found.items if item.cause == cause]
        for item in items[:_MOST_ITEMS]:
            yield f"    {signed(item.amount):<20}  {_said(item.where)}  {_said(item.why)}"
        if len(items) > _MOST_ITEMS:
            yield f"    and {len(items) - _MOST_ITEMS:,} more: see --json"


def signed(amount: Decimal) -> str:
    """Return an exact amount with its sign before the dollar."""
    return f"{'-' if amount < 0 else '+'}${plain(amount.copy_abs())}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _part(cost: Decimal, whole: Decimal) -> str:
    return f"{cost * 100 / whole:.1f}%" if whole > 0 else "-"


def _said(text: str) -> str:
    return redacted(visible(text))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
