"""A budget that is spent: home's alarm line says so, and the confirm of a raise is held by it."""

import re
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
from tests.ui.test_marked_shares import prepared, settled

SAID = re.compile(r"budget acme-day: \$5\.25 \((just now|\d+ m ago)\) of \$5")


def spend_all(file: Path, budgets: str) -> None:
    """Add budgets to the file, with $5.25 spent of each."""
    text = f"{file.read_text()}{budgets}"
    file.write_text(text)
    now = time.time()
    parsed = parse(text.encode())
    spends = [
        Spend(scope, begins, Decimal("5.25"))
        for scope, period in scopes_at(parsed, now).items()
        for begins in (period.begins, period.ends)
    ]
    keep_spending(Spending(now, spends), spending_path(state_folder(), file, parsed.profile))


async def test_a_spent_budget_is_told_and_holds_a_raise(file: Path) -> None:
    spend_all(file, '[budgets.acme-day]\norg = "acme"\nper = "day"\nlimit_usd = 5\n')
    async with running(app_of(file)) as pilot:
        alarm = pilot.app.screen.query_one("#alarm", TextLine)
        await until_shown(pilot, lambda: SAID.search(str(alarm.render())))
        assert "△" in str(alarm.render())
        await settled(pilot)
        held = await dialog_text(pilot, "plus")
        assert "the guard holds: chat / acme: budget acme-day: $5.25 of $5 for" in held
        assert "the guard holds" not in await dialog_text(pilot, "minus")


async def test_one_budget_that_holds_several_is_said_once(file: Path) -> None:
    prepared(file, (b"acme = 1\n", b"acme = 0\n"))  # on claude, which the budget does not cover
    spend_all(file, '[budgets.chat-day]\nroute = "chat"\nper = "day"\nlimit_usd = 5\n')
    async with running(app_of(file)) as pilot:
        alarm = pilot.app.screen.query_one("#alarm", TextLine)
        await until_shown(pilot, lambda: "budget chat-day" in str(alarm.render()))
        await settled(pilot)
        await pilot.press("space", "j", "space")
        said = await dialog_text(pilot, "plus")
        assert "the guard holds: 2 of 2: chat / acme, globex.eu: budget chat-day: $5.25" in said
        assert said.count("budget chat-day") == 1
        await pilot.press("l", "j", "space")
        said = await dialog_text(pilot, "plus")
        assert "claude / acme 0% to 1% in rollout.toml; 2 left out" in said
        assert "left out: chat / acme, globex.eu: held: budget chat-day: $5.25 of $5" in said
        assert said.count("budget chat-day") == 1
