"""What a key has cost, in a sparkline and in lines: only what the API's billing says."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from rollout_console.tokenlab.types import ApiKey, Billing, Spent
from rollout_console.ui.screens.keys.spending import (
    DAYS,
    Spending,
    about_key,
    daily,
    spark,
    start_of,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEY = ApiKey(
    "key_1", "ci", "sk-ab...", "active", Decimal(50), Decimal("12.5"), ("gpt-5.4",),
    NOW + timedelta(days=31), NOW - timedelta(minutes=3), NOW - timedelta(days=60),
)  # fmt: skip


def billed(**days: str) -> Spending:
    rows = tuple(Spent(f"2026-11-{day[1:]}", 0, Decimal(cost)) for day, cost in days.items())
    total = sum((row.cost for row in rows), Decimal(0))
    models = tuple(Spent(f"m{i}", i, Decimal(i)) for i in range(1, 6))
    return Spending(KEY.used, Billing(120, total, models, rows))


def text(key: ApiKey, found: Spending | None) -> str:
    return "\n".join("".join(part for part, _ in line) for line in about_key(key, found, NOW))


def test_each_day_has_its_place_and_no_other_is_made_up() -> None:
    found = billed(d27="0.5", d28="2", d15="1", d14="99")
    assert found.billing is not None
    values = daily(found.billing, NOW)
    assert (len(values), values[0], values[-2], values[-1]) == (DAYS, 1.0, 0.5, 2.0)
    assert sum(values) == 3.5, "the day before the window is in no other"
    assert start_of(NOW) == "2026-11-15"
    assert spark(found, NOW)[0] == "▅▁▁▁▁▁▁▁▁▁▁▁▃█"


def test_what_is_not_known_is_not_zero() -> None:
    assert spark(None, NOW)[0] == "…"
    assert spark(Spending(KEY.used, None, "503"), NOW)[0] == "not known"
    assert "reading what it has cost" in text(KEY, None)
    assert "not known: the API answered 503" in text(
        KEY, Spending(KEY.used, None, "the API answered 503")
    )
    assert "no cost was settled" in text(KEY, billed())


def test_the_lines_on_a_key() -> None:
    said = text(KEY, billed(d27="5", d26="2", d28="1"))
    for words in (
        "ci  key_1  sk-ab...  made 2026-09-29  used 3 m ago", "$12.50 of $50.00 (25%)", "█████░",
        "2026-12-29 12:00 UTC", "$8.00, most $5.00 on 2026-11-27", "m5 $5.00 (5) · m4 $4.00 (4)",
        "2 more", "may use  gpt-5.4", "at $1.00 a day (of the last 7) the limit lasts 37d 12h",
    ):  # fmt: skip
        assert words in said, said


def test_the_rate_is_of_days_that_the_key_was_there() -> None:
    young = replace(KEY, created_at=NOW - timedelta(days=2))
    assert "at $3.50 a day (of the last 2)" in text(young, billed(d27="5", d26="2"))
    newborn = replace(KEY, created_at=NOW)
    assert "a day" not in text(newborn, billed(d28="5"))
    for none in (replace(KEY, limit=None), replace(KEY, used=Decimal(50)),
                 replace(KEY, status="revoked")):  # fmt: skip
        assert "a day" not in text(none, billed(d27="5"))


def test_odd_keys() -> None:
    zero = replace(KEY, limit=Decimal(0), used=Decimal(0), expires_at=None, last_used_at=None)
    assert "$0.00 of $0.00 (100%)" in text(zero, None)
    assert "never used" in text(zero, None)
    over = replace(KEY, used=Decimal("1e9"))
    assert "█" * 20 in text(over, None)
