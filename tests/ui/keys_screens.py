"""Open the keys screen on the simulator, fill its forms, and read what it shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.vault.vault import Vault
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.sim.server import SimServer
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.form import FormDialog
from rollout_console.ui.screens.keys.screen import KeysScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from tests.support.waiting import until_ready, until_shown

Running = Pilot[None]


def app_of(file: Path, sim: SimServer, vault: Vault, *, read_only: bool = False) -> ConsoleApp:
    text = file.read_text().replace("https://api.tokenlab.sh", sim.base_url)
    file.write_text(text)
    who = Actor("jo", "gw-01")
    switch = Switch(
        file, History(file.parent / "h.sqlite3"), who, access=WriteAccess(read_only=read_only)
    )
    monitor = Monitor(file, switch.open().file)
    return ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01", vault=vault)


@asynccontextmanager
async def keys_screen(app: ConsoleApp, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Running]:
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await until_shown(pilot, lambda: isinstance(app.screen, KeysScreen))
        await until_shown(pilot, lambda: bool(rows(pilot)) or "!" in line(pilot, "keys-notice"))
        yield pilot


def rows(pilot: Running) -> list[str]:
    table = pilot.app.screen.query(DataTable)
    if not table:
        return []
    found = table.first()
    return [" ".join(str(cell) for cell in found.get_row_at(i)) for i in range(found.row_count)]


def line(pilot: Running, name: str) -> str:
    found = pilot.app.screen.query(f"#{name}").results(TextLine)
    return next((one.text for one in found), "")


def everything(pilot: Running) -> str:
    return pilot.app.export_screenshot()


def dialog_text(pilot: Running) -> str:
    return " ".join(str(shown.render()) for shown in pilot.app.screen.query(Static))


async def fill(pilot: Running, **values: str) -> None:
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
    await until_shown(pilot, lambda: pilot.app.screen.focused is not None)
    for name, value in values.items():
        pilot.app.screen.query_one(f"#field-{name}", Input).value = value
    last = list(pilot.app.screen.query(Input))[-1]
    last.focus()
    await pilot.press("enter")


async def confirm(pilot: Running, typed: str = "") -> None:
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await until_ready(pilot)
    if typed:
        await pilot.press(*typed, "enter")
    else:
        await pilot.press("y")
    await until_shown(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))


def find(sim: SimServer, name: str) -> Any:
    return next((key for key in sim.state.keys.values() if key.name == name), None)
