"""Render API keys as rows of the keys table, from 80 columns up."""

from collections.abc import Sequence
from datetime import datetime

from rich.text import Text

from rollout_console.common.durations import seconds_text
from rollout_console.common.safe_text import visible
from rollout_console.credentials.key_values import LIMIT_SHARES
from rollout_console.tokenlab.types import ApiKey
from rollout_console.ui.screens.keys.spending import DAYS, Spending, spark
from rollout_console.ui.text import fit

COST = f"{DAYS} days"
"""The column with the sparkline of what a key has cost a day."""
NARROW = (
    ("name", 18),
    ("status", 8),
    ("used", 12),
    ("limit", 11),
    ("expires", 8),
    (COST, DAYS),
)
MIDDLE = (*NARROW, ("last used", 9))
WIDE = (*MIDDLE, ("prefix", 14), ("models", 24))


def columns(width: int) -> Sequence[tuple[str, int]]:
    """Return the columns that fit, with their widths; the name's gets the remaining cells."""
    chosen = WIDE if width >= 130 else MIDDLE if width >= 95 else NARROW
    left = width - sum(cells for _, cells in chosen) - len(chosen) - 2
    name, cells = chosen[0]
    return ((name, cells + max(0, min(left, 30))), *chosen[1:])


def cells(
    key: ApiKey,
    now: datetime,
    wanted: Sequence[tuple[str, int]],
    spending: Spending | None = None,
    *,
    rotating: bool = False,
) -> list[Text]:
    """Return a row; colour and text mark a limit or expiry that is reached or near."""
    share = key.used_share
    over = share is not None and share >= LIMIT_SHARES[0]
    used = f"${key.used:,.2f}" + (f" {100 * share:.0f}%" if share is not None else "")
    said = {
        "name": (key.name, ""),
        "status": ("rotating", "cyan")
        if rotating and key.status == "active"
        else (key.status, {"active": "green", "inactive": "yellow"}.get(key.status, "dim")),
        "used": (used, "bold red" if over else ""),
        "limit": ("none" if key.limit is None else f"${key.limit:,.2f}", ""),
        "expires": _expiry(key, now),
        COST: spark(spending, now),
        "last used": (_since(key.last_used_at, now), ""),
        "prefix": (key.prefix, "dim"),
        "models": (", ".join(key.models) or "any", ""),
    }
    row = []
    for name, width in wanted:
        text, style = said[name]
        row.append(Text(fit(visible(text), width), style if key.status != "revoked" else "dim"))
    return row


def _expiry(key: ApiKey, now: datetime) -> tuple[str, str]:
    if key.expires_at is None:
        return "never", ""
    left = (key.expires_at - now).total_seconds()
    if left <= 0:
        return "expired", "bold red"
    days = left / 86_400
    style = "bold red" if days <= 1 else "yellow" if days <= 30 else ""
    return (f"in {days:.0f} d" if days >= 2 else f"in {left / 3600:.0f} h"), style


def _since(at: datetime | None, now: datetime) -> str:
    return "never" if at is None else seconds_text(max((now - at).total_seconds(), 0.0))
