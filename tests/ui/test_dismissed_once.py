"""Several keys queued for one dialog close it once, and no screen below it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.command import CommandList
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Input

from rollout_console.ui.dialogs.choice import ChoiceDialog
from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_console.ui.dialogs.form import Field, FormDialog
from rollout_console.ui.dialogs.percent import PercentDialog
from rollout_console.ui.palette import Palette
from rollout_console.ui.screens.history.screen import HistoryScreen
from tests.support.waiting import until_ready, until_shown
from tests.ui.test_home import app_of, share

Opened = Callable[[], ModalScreen[Any]]
DIALOGS: dict[str, tuple[Opened, str]] = {
    "confirm": (lambda: ConfirmDialog(Question("Lower", "chat / acme 25% to 10%")), "y"),
    "cancel": (lambda: ConfirmDialog(Question("Lower", "chat / acme 25% to 10%")), "enter"),
    "typed": (lambda: ConfirmDialog(Question("Raise", "all", type_name="chat")), "enter"),
    "form": (lambda: FormDialog("A form", (Field("one", "one"),)), "enter"),
    "choice": (lambda: ChoiceDialog("One of", ["a", "b"]), "enter"),
    "percent": (lambda: PercentDialog("chat / acme", "25%"), "enter"),
}
TYPED = {"typed": "chat", "form": "value", "percent": "30"}


def key(name: str) -> events.Key:
    return events.Key(name, {"enter": "\r", "escape": "\x1b"}.get(name, name))


async def queued(pilot: Pilot[None], *names: str) -> None:
    """Deliver keys in one burst, as a slow link does."""
    for name in names:
        pilot.app.post_message(key(name))
    for _ in range(4):
        await pilot.pause()


@pytest.mark.parametrize("name", DIALOGS)
async def test_a_second_key_closes_nothing_else(file: Path, name: str) -> None:
    make, answer = DIALOGS[name]
    app = app_of(file)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("6")
        await until_shown(pilot, lambda: isinstance(app.screen, HistoryScreen))
        answers: list[Any] = []
        dialog = make()
        await app.push_screen(dialog, answers.append)
        await pilot.pause()
        if isinstance(dialog, ConfirmDialog):
            await until_ready(pilot)
        for line in dialog.query(Input) if name in TYPED else ():
            line.value = TYPED[name]
        for _ in range(3):
            app.post_message(key(answer))
        await until_shown(pilot, lambda: not isinstance(app.screen, type(dialog)))
        await pilot.pause(0.1)
        assert isinstance(app.screen, HistoryScreen)
        assert len(answers) == 1
        assert app._exception is None


async def test_a_percent_and_two_enters_in_one_burst(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("e")
        await queued(pilot, "1", "enter", "enter", "enter")
        await until_shown(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert app._exception is None
        assert share(file) == (2500, False), "enter alone confirms nothing"


async def test_a_command_and_two_enters_in_one_burst(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await until_shown(pilot, lambda: isinstance(app.screen, HistoryScreen))
        await pilot.press("colon")
        await until_shown(pilot, lambda: isinstance(app.screen, Palette))
        await pilot.press(*"sixteen")
        await until_shown(pilot, lambda: bool(app.screen.query_one(CommandList).option_count))
        await queued(pilot, "enter", "enter", "enter", "enter")
        await until_shown(pilot, lambda: app.theme == "sixteen")
        assert isinstance(app.screen, HistoryScreen)
        assert app._exception is None
