"""Quitting in the moment that something opens: the console ends, and calls it no fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.screen import ModalScreen

from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.choice import ChoiceDialog
from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_console.ui.dialogs.form import Field, FormDialog
from rollout_console.ui.dialogs.percent import PercentDialog
from rollout_console.ui.dialogs.text import TextDialog
from tests.ui.test_home import app_of, share

OPENED: dict[str, Callable[[], ModalScreen[Any]]] = {
    "confirm": lambda: ConfirmDialog(Question("Lower", "chat / acme 25% to 10%")),
    "typed confirm": lambda: ConfirmDialog(Question("Raise", "all", type_name="chat")),
    "form": lambda: FormDialog("A form", (Field("one", "one"),)),
    "choice": lambda: ChoiceDialog("One of", ["a", "b"]),
    "percent": lambda: PercentDialog("chat / acme", "25%"),
    "text": lambda: TextDialog("Text", ["a line"]),
}


async def _ends_well(app: ConsoleApp, open_one: Callable[[], object]) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        open_one()
        app.exit(return_code=0)
    assert app.return_code == 0


@pytest.mark.parametrize("name", OPENED)
async def test_quitting_while_a_dialog_opens(file: Path, name: str) -> None:
    app = app_of(file)
    await _ends_well(app, lambda: app.push_screen(OPENED[name]()))


@pytest.mark.parametrize("screen", ["keys", "models", "routes", "live"])
async def test_quitting_while_a_screen_opens(file: Path, screen: str) -> None:
    app = app_of(file)
    await _ends_well(app, getattr(app, f"action_show_{screen}"))


async def test_quitting_before_the_first_frame(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)):
        app.exit(return_code=0)
    assert app.return_code == 0


async def test_a_second_escape_while_a_form_closes_is_no_fault(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        form = FormDialog("A form", (Field("one", "one", hidden=True), Field("two", "two")))
        await app.push_screen(form)
        await form.query("Horizontal").remove()
        form.action_cancel()
        await pilot.pause()
        assert not isinstance(app.screen, FormDialog)
        app.exit(return_code=0)
    assert app.return_code == 0


@pytest.mark.parametrize("name", OPENED)
async def test_closing_a_dialog_in_the_moment_it_opens(file: Path, name: str) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        for _ in range(5):
            app.push_screen(OPENED[name]())
            app.pop_screen()
            await pilot.pause()
        app.exit(return_code=0)
    assert app.return_code == 0


async def test_keys_typed_while_it_ends_go_nowhere(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.exit(return_code=0)
        for key in ("r", "y", "escape", "2"):
            app.simulate_key(key)
    assert app.return_code == 0
    assert not share(file)[1]
