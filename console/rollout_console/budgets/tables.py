"""Budgets as a table for people, and as a JSON object with exact decimal strings."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rollout_console.budgets.spending import Spending
from rollout_console.budgets.standing import (
    STALE_S,
    Standing,
    age_words,
    lowers_words,
    routes_of,
    usd,
    what_of,
)
from rollout_console.common.durations import seconds_text
from rollout_console.common.safe_text import visible
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import redacted

_HEAD = ("budget", "of", "period", "spent", "limit", "used", "at its end")
_RIGHT = (3, 4, 5, 6)
_CENT = Decimal("0.01")


def as_text(
    file: RolloutFile, standings: Sequence[Standing], spending: Spending, now: float,
    *, guard_acts: bool | None = None,
) -> Iterator[str]:  # fmt: skip
    """Yield the lines of the table, each budget with what it holds and what is to be known.

    ``guard_acts`` is whether a guard runs on the file, None where that is not known.
    """
    if not standings:
        yield "the file has no budgets: write [budgets.NAME] with per and limit_usd"
        return
    if not spending.until:
        yield "not counted yet"
        return
    age = seconds_text(max(now - spending.until, 0.0))
    stale = "STALE: " if now - spending.until > STALE_S else ""
    yield (
        f"{stale}usage records {age_words(spending, now)}, {age} ago; text settles within 15 m,"
        " tasks within 2 h"
    )
    yield ""
    rows = [_HEAD, *map(_row, standings)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    for number, row in enumerate(rows):
        cells = [
            f"{cell:>{width}}" if place in _RIGHT else f"{cell:<{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
        if number:
            one = standings[number - 1]
            yield from (
                f"    {words}" for words in (*_does(file, one, guard_acts), *map(_said, one.notes))
            )


def as_json(
    file: RolloutFile, standings: Sequence[Standing], spending: Spending, words: Sequence[str],
    now: float,
) -> dict[str, Any]:  # fmt: skip
    """Return the JSON object that ``budgets --json`` prints; projections are rounded."""
    return {
        "read_until": _iso(spending.until) if spending.until else None,
        "age_s": round(max(now - spending.until, 0.0), 3) if spending.until else None,
        "stale": now - spending.until > STALE_S,
        "burn_24h_usd": None if spending.burn is None else _plain(spending.burn),
        "budgets": [_one_json(file, one) for one in standings],
        "warnings": [redacted(one) for one in words],
    }


def _row(one: Standing) -> tuple[str, ...]:
    budget, projected = one.budget, one.projected
    return (
        _said(budget.name), _said(what_of(budget)), one.period.words,
        usd(one.spent) if one.is_known else "-", usd(budget.limit_usd),
        f"{one.percent:,}%" if one.is_known else "-",
        "-" if projected is None else f"about {usd(projected.quantize(_CENT))}",
    )  # fmt: skip


def _does(file: RolloutFile, one: Standing, guard_acts: bool | None) -> Iterator[str]:
    """Yield what a budget does: what it holds and lowers, in words."""
    if not one.is_over:
        return
    held, free = list[str](), list[str]()
    for route in routes_of(file, one):
        (free if route.guard.mode == "observe" else held).append(route.name)
    if held:
        but = f", but not on {_said(free[0])} (mode observe)" if free else ""
        yield f"holds raises until {one.period.until_words}{but}"
    else:
        yield "holds nothing: the guard's mode there is observe"
    if words := lowers_words(file, one, guard_acts=guard_acts):
        yield _said(words)


def _one_json(file: RolloutFile, one: Standing) -> dict[str, Any]:
    budget, spend, projected = one.budget, one.spend, one.projected
    is_known = spend is not None and not spend.problem
    return {
        "name": redacted(budget.name),
        "route": redacted(budget.route) or None,
        "org": redacted(budget.org) or None,
        "key": redacted(budget.key) or None,
        "per": budget.per,
        "begins": _iso(one.period.begins),
        "ends": _iso(one.period.ends),
        "limit_usd": _plain(budget.limit_usd),
        "spent_usd": _plain(spend.cost) if spend is not None and is_known else None,
        "percent": one.percent if is_known else None,
        "projected_usd": None if projected is None else _plain(projected.quantize(_CENT)),
        "unattributed_usd": _plain(spend.unattributed) if spend is not None and is_known else None,
        "attributed_since": _iso(spend.since) if spend and spend.since is not None else None,
        "over": one.is_over,
        "near": one.is_near,
        "at_limit": budget.at_limit,
        "does": [*_does(file, one, None)],
        "notes": [redacted(words) for words in one.notes],
    }


def _said(text: str) -> str:
    return redacted(visible(text))


def _plain(amount: Decimal) -> str:
    return f"{amount:f}"


def _iso(at: float) -> str:
    text = datetime.fromtimestamp(round(at, 3), UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
