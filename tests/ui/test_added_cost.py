"""The confirm of a raise says what it would add to the bill of a day, where that is known."""

import time
from decimal import Decimal
from pathlib import Path

from textual.widgets import Static

from rollout_console.common.folders import state_folder
from rollout_console.cost.share_costs import ShareCost, ShareCosts, keep, kept_path
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_gate.file.parse import parse
from tests.support.waiting import until_shown
from tests.ui.test_home import Running, app_of, running

SAID = "about +$3.00 a day on TokenLab, from its cost in 23 h"
UNKNOWN = "added cost unknown: no cost was added up within a day (rollout-console cost)"


def keep_costs(file: Path) -> None:
    acme = ShareCost(2500, Decimal(3), 23 * 3600)
    where = kept_path(state_folder(), file, parse(file.read_bytes()).base_url)
    keep(ShareCosts(time.time() - 3600, {"chat": {"acme": acme}}), where)


async def dialog_text(pilot: Running, key: str) -> str:
    await pilot.press(key)
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await until_shown(pilot, lambda: bool(pilot.app.screen.query(Static)))
    text = "\n".join(str(one.render()) for one in pilot.app.screen.query(Static))
    await pilot.press("escape")
    await until_shown(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
    return text


async def test_a_raise_says_what_it_adds_a_day(file: Path) -> None:
    # In the sample a flag moves traffic of chat as well, and then it is a bound.
    text = file.read_text()
    file.write_text(text.replace("beta-testers = 100", ""))
    async with running(app_of(file)) as pilot:
        assert UNKNOWN in " ".join((await dialog_text(pilot, "plus")).split())
        keep_costs(file)
        assert SAID in await dialog_text(pilot, "plus")
        for key in ("minus", "r"):
            shown = await dialog_text(pilot, key)
            assert "a day" not in shown
            assert "cost unknown" not in shown
    file.write_text(text)
    async with running(app_of(file)) as pilot:
        assert SAID.replace("about", "at most") in await dialog_text(pilot, "plus")
