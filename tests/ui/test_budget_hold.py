"""A budget that is spent: home's alarm line says so, and the confirm of a raise is held by it."""

import time
from decimal import Decimal
from pathlib import Path

from rollout_console.budgets.spending import (
    Spend,
    Spending,
    keep_spending,
    scopes_at,
    spending_path,
)
from rollout_console.common.folders import state_folder
from rollout_console.ui.widgets.line import TextLine
from rollout_gate.file.parse import parse
from tests.support.waiting import until_shown
from tests.ui.test_added_cost import dialog_text
from tests.ui.test_home import app_of, running


async def test_a_spent_budget_is_told_and_holds_a_raise(file: Path) -> None:
    text = f'{file.read_text()}[budgets.acme-day]\norg = "acme"\nper = "day"\nlimit_usd = 5\n'
    file.write_text(text)
    now = time.time()
    parsed = parse(text.encode())
    spends = [
        Spend(scope, begins, Decimal("5.25"))
        for scope, period in scopes_at(parsed, now).items()
        for begins in (period.begins, period.ends)
    ]
    keep_spending(Spending(now, spends), spending_path(state_folder(), file, parsed.profile))
    async with running(app_of(file)) as pilot:
        alarm = pilot.app.screen.query_one("#alarm", TextLine)
        await until_shown(pilot, lambda: "budget acme-day: $5.25 of $5" in str(alarm.render()))
        assert "△" in str(alarm.render())
        held = await dialog_text(pilot, "plus")
        assert "the guard holds: chat / acme: budget acme-day: $5.25 of $5 for" in held
        assert "the guard holds" not in await dialog_text(pilot, "minus")
