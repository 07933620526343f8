"""Costs for machines: a JSON object, and a view as CSV; amounts are exact decimal strings."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rollout_console.changes.output_file import PRIVATE, stream_output
from rollout_console.common.csv_cells import plain_cell
from rollout_console.cost.bill import VIEWS, WIDE, Figures, View, ViewRow
from rollout_console.cost.burn import Runway
from rollout_console.cost.costs import Costs
from rollout_console.cost.difference import Difference
from rollout_console.cost.side_by_side import SideBySide
from rollout_console.reconcile.money import plain
from rollout_gate.secret import redacted

_WHAT = "an earlier export of cost"
_RATE = Decimal("0.000000000001")
COLUMNS = (
    "view", "name", "is_rest", "cost_usd", "requests", "refunds", "tokens_in", "tokens_out",
    "usd_per_1000_requests", "usd_per_1m_tokens",
)  # fmt: skip


def as_json(costs: Costs, views: Sequence[View] = VIEWS) -> dict[str, Any]:
    """Return the JSON object that ``cost --json`` prints; rates are rounded, amounts are not."""
    asked, burn = costs.asked, costs.burn
    return {
        "since": iso(asked.since),
        "until": iso(asked.until),
        "profile": costs.profile,
        "base_url": costs.base_url,
        "read_until": iso(costs.horizon),
        "age_s": round(costs.age_s, 3),
        "settling": costs.is_settling,
        "bill": _figures(costs.bill.all),
        "chosen": _figures(costs.bill.chosen),
        "without_a_line_yet": _figures(costs.bill.settling),
        "by": {view: [_row(costs, view, row) for row in costs.bill.by(view)] for view in views},
        "burn": {
            "until": iso(burn.until),
            "last_24h_usd": plain(burn.cost),
            "before_usd": plain(burn.before),
            "before_days": _rate(burn.before_days),
            "before_a_day_usd": _rate(burn.before_a_day),
            "change_percent": _rate(burn.change),
        },
        "balance": None if costs.balance is None else _runway(costs, costs.balance),
        "keys_with_a_limit": [_runway(costs, one) for one in costs.limits],
        "side_by_side": [_sides(one) for one in costs.sides],
        "difference": None if costs.difference is None else _difference(costs, costs.difference),
        "warnings": [redacted(one) for one in costs.words],
    }


def write_csv(path: Path, costs: Costs, views: Sequence[View], *, rollout_file: Path) -> None:
    """Write some views as CSV, atomically and for the owner alone. Raises OperationError.

    Compared with an earlier period, the causes of the difference are rows as well, of the view
    ``difference``; their costs add up to it.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for view in views:
        for row in costs.bill.by(view):
            found = _row(costs, view, row)
            name = plain_cell(str(found["id"] if view == "key" else found["name"]))
            figures = [found[column] for column in COLUMNS[3:]]
            writer.writerow(
                [view, name, int(row.is_rest), *("" if x is None else x for x in figures)]
            )
    if costs.difference is not None:
        for cause, amount in costs.difference.causes.items():
            blank = [""] * (len(COLUMNS) - 4)
            writer.writerow(["difference", cause, 0, plain(amount), *blank])
    data = buffer.getvalue().encode("utf-8", "backslashreplace")
    head = ",".join(COLUMNS).encode()
    stream_output(
        path, lambda stream: stream.write(data), rollout_file=rollout_file, what=_WHAT,
        is_what=lambda found: found.startswith(head), mode=PRIVATE,
    )  # fmt: skip


def _row(costs: Costs, view: View, row: ViewRow) -> dict[str, Any]:
    is_key = view == "key" and not row.is_rest
    name = costs.key_name(row.name) if is_key else row.name
    ids = {"id": row.name} if view == "key" else {}
    return {"name": redacted(name), **ids, "is_rest": row.is_rest, **_figures(row.figures)}


def _figures(one: Figures) -> dict[str, Any]:
    return {
        "cost_usd": plain(one.cost),
        "requests": one.requests,
        "refunds": one.refunds,
        "tokens_in": one.tokens_in,
        "tokens_out": one.tokens_out,
        "usd_per_1000_requests": _rate(one.per_thousand),
        "usd_per_1m_tokens": _rate(one.per_million),
    }


def _runway(costs: Costs, one: Runway) -> dict[str, Any]:
    name = {"id": one.key, "name": redacted(costs.key_name(one.key))} if one.key else {}
    return {
        **name,
        "left_usd": plain(one.left),
        "limit_usd": None if one.limit is None else plain(one.limit),
        "usd_a_day": plain(one.a_day),
        "lasts_s": None if one.seconds is None else round(one.seconds),
    }


def _sides(one: SideBySide) -> dict[str, Any]:
    return {
        "route": redacted(one.route),
        "tokenlab": _figures(one.tokenlab),
        "previous": {
            "cost_usd": plain(one.cost),
            "requests": one.previous.requests,
            "without_tokens": one.previous.requests - one.priced,
            "tokens_in": one.previous.tokens_in,
            "tokens_out": one.previous.tokens_out,
            "usd_per_1000_requests": _rate(one.per_thousand),
            "usd_per_1m_tokens": _rate(one.per_million),
        },
        "change_percent": _rate(one.change),
    }


def _difference(costs: Costs, found: Difference) -> dict[str, Any]:
    shift = costs.asked.against_s or 0.0
    return {
        "since": iso(costs.asked.since - shift),
        "until": iso(costs.asked.until - shift),
        "earlier_usd": plain(found.earlier),
        "now_usd": plain(found.now),
        "difference_usd": plain(found.amount),
        "by_route_and_org": costs.is_by_place,
        "causes": {cause: plain(amount) for cause, amount in found.causes.items()},
        "items": [
            {"cause": item.cause, "amount_usd": plain(item.amount), "where": redacted(item.where),
             "why": redacted(item.why)}
            for item in found.items
        ],
    }  # fmt: skip


def _rate(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount.quantize(_RATE, context=WIDE))


def iso(at: float) -> str:
    """Return a time (epoch seconds) as RFC 3339 in UTC, with milliseconds."""
    text = datetime.fromtimestamp(round(at, 3), UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
