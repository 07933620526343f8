"""What keys have cost a day, from the billing of the API: a sparkline, and lines on one key."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec

from rollout_console.charts.sparkline import sparkline
from rollout_console.common.durations import seconds_text
from rollout_console.tokenlab.types import ApiKey, Billing

DAYS = 14
"""Days of billing that are shown, today among them."""
_MOST_MODELS = 3
_GAUGE = 20
Pieces = list[tuple[str, str]]


class Spending(msgspec.Struct, frozen=True):
    """A key's billing of the last DAYS days, and what the key had used in all when it was read.

    ``billing`` is None where it could not be read, for the reason ``trouble``.
    """

    used: Decimal
    billing: Billing | None
    trouble: str = ""


def start_of(now: datetime) -> str:
    """Return the first of the days that are asked for, as the API takes it."""
    return f"{now.astimezone(UTC).date() - timedelta(days=DAYS - 1)}"


def daily(billing: Billing, now: datetime) -> list[float]:
    """Return the cost of each of the last DAYS days in US dollars, today's last."""
    by_day = {row.name[:10]: float(row.cost) for row in billing.by_day}
    return [by_day.get(f"{day}", 0.0) for day in _days(now)]


def spark(found: Spending | None, now: datetime) -> tuple[str, str]:
    """Return the sparkline of a key's days, scaled to its own highest, and its style."""
    if found is None:
        return "…", "dim"
    if found.billing is None:
        return "not known", "yellow"
    values = daily(found.billing, now)
    return sparkline(values, max(values)), "" if any(values) else "dim"


def about_key(key: ApiKey, found: Spending | None, now: datetime) -> list[Pieces]:
    """Return lines on a key: what it is, limit and expiry, its days, and its models."""
    seen = "never used" if key.last_used_at is None else f"used {_ago(key.last_used_at, now)} ago"
    made = f"made {key.created_at:%Y-%m-%d}" if key.created_at.timestamp() > 0 else ""
    about = "  ".join(part for part in (key.id, key.prefix, made, seen) if part)
    lines: list[Pieces] = [
        [(f"{key.name}", "bold"), (f"  {about}", "$foreground 70%")],
        _limit_line(key),
        [("expires  ", "$foreground 70%"), (_expiry(key), "")],
    ]
    lines += _days_lines(key, found, now)
    allowed = ", ".join(key.models) or "any"
    lines.append([("may use  ", "$foreground 70%"), (allowed, "")])
    return lines


def _limit_line(key: ApiKey) -> Pieces:
    share = key.used_share
    head = ("limit    ", "$foreground 70%")
    if key.limit is None or share is None:
        return [head, (f"none, ${key.used:,.2f} used", "")]
    filled = min(max(round(share * _GAUGE), 1 if key.used else 0), _GAUGE)
    style = "$error bold" if share >= 1 else "$warning" if share >= 0.8 else ""
    words = f" ${key.used:,.2f} of ${key.limit:,.2f} ({100 * share:.0f}%)"
    return [head, ("█" * filled, style), ("░" * (_GAUGE - filled), "$foreground 40%"), (words, "")]


def _days_lines(key: ApiKey, found: Spending | None, now: datetime) -> list[Pieces]:
    head = (f"{DAYS} days  ", "$foreground 70%")
    if found is None:
        return [[head, ("reading what it has cost…", "$foreground 70%")]]
    billing = found.billing
    if billing is None:
        return [[head, (f"not known: {found.trouble}", "$warning")]]
    values = daily(billing, now)
    if not any(values):
        return [[head, ("no cost was settled", "$foreground 70%")]]
    most = max(range(DAYS), key=values.__getitem__)
    words = f"  ${billing.cost:,.2f}, most ${values[most]:,.2f} on {_days(now)[most]}"
    lines: list[Pieces] = [[head, (sparkline(values, values[most]), "$accent"), (words, "")]]
    if left := _lasts(key, values, now):
        lines.append([("left     ", "$foreground 70%"), (left, "")])
    rows = sorted(billing.by_model, key=lambda row: -row.cost)
    named = [f"{row.name} ${row.cost:,.2f} ({row.requests:,})" for row in rows[:_MOST_MODELS]]
    if len(rows) > _MOST_MODELS:
        named.append(f"{len(rows) - _MOST_MODELS} more")
    return [*lines, [("models   ", "$foreground 70%"), (" · ".join(named), "")]]


def _lasts(key: ApiKey, values: Sequence[float], now: datetime) -> str:
    """Return how long the limit lasts at the mean of up to seven complete days of the key."""
    age = (now.astimezone(UTC).date() - key.created_at.astimezone(UTC).date()).days
    week = values[-1 - min(max(age, 0), 7) : -1]
    mean = sum(week) / max(len(week), 1)
    if key.limit is None or mean <= 0 or key.used >= key.limit or key.status != "active":
        return ""
    days = float(key.limit - key.used) / mean
    rate = f"${mean:,.2f} a day (of the last {len(week)})"
    return f"at {rate} the limit lasts {seconds_text(86_400 * days)}"


def _expiry(key: ApiKey) -> str:
    return "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M} UTC"


def _ago(at: datetime, now: datetime) -> str:
    return seconds_text(max((now - at).total_seconds(), 0.0))


def _days(now: datetime) -> list[date]:
    today = now.astimezone(UTC).date()
    return [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
