"""The line of budgets at the top of the money screen."""

from datetime import UTC, datetime
from decimal import Decimal

from rollout_console.budgets.periods import period_at
from rollout_console.budgets.spending import Spend, Spending, scope_of
from rollout_console.budgets.standing import standings_of
from rollout_console.ui.screens.money.head import budget_lines, text_of
from rollout_gate.file.parse import parse

FILE = """schema = 1
algorithm = "fractional-v3"
[routes.chat]
format = "openai_chat_completions"
"""
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


def text_and_styles(*spent: str) -> tuple[str, dict[str, str]]:
    """The line of budgets b0, b1 ... of $10, each of an org of its own, and how each is drawn."""
    tables = [
        f'[budgets.b{i}]\nper = "month"\nlimit_usd = 10\norg = "o{i}"\n' for i in range(len(spent))
    ]
    file = parse("\n".join([FILE, *tables]).encode())
    begins = period_at("month", NOW).begins
    spends = [
        Spend(scope_of(budget), begins, Decimal(cost))
        for budget, cost in zip(file.budgets.values(), spent, strict=True)
        if cost
    ]
    lines = budget_lines(standings_of(file, Spending(NOW - 540, spends), NOW), NOW)
    if not lines:
        return "", {}
    (pieces,) = lines
    return text_of(pieces), {text: style for text, style in pieces if text.endswith("%")}


def test_the_most_spent_come_first() -> None:
    text, styles = text_and_styles("1", "12", "8.5", "2", "")
    assert text == (
        " budgets 9 m ago: b1 120% of $10 for November   b2 85% of $10 for November"
        "   b3 20% of $10 for November   and 2 more: rollout-console budgets"
    )
    assert styles == {"120%": "$error bold", "85%": "$warning bold", "20%": "bold"}


def test_what_was_not_counted_has_no_percent() -> None:
    assert text_and_styles("")[0].strip() == "budgets 9 m ago: b0 not counted of $10 for November"


def test_without_budgets_there_is_no_line() -> None:
    assert text_and_styles() == ("", {})
