"""Open the money screen on what a small world was billed, and read what it shows."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Static

from rollout_console.changes.switch import Switch
from rollout_console.cli.credentials import fixed_vault
from rollout_console.common.folders import state_folder
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.reconcile.store import store_path
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_TOKEN
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.screens.money.screen import MoneyScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import LineTable
from tests.cost.traffic import Traffic
from tests.reconcile.world import World
from tests.support.waiting import until_shown

Running = Pilot[None]
AGO_S = 3 * 3600.0
"""How long ago the traffic was: all of it has settled."""


def billed(sim: SimServer, folder: Path) -> Traffic:
    """Return traffic of a world whose rollout file has prices of the previous side."""
    made = World(sim, folder)
    text = made.path.read_text()
    prices = "[routes.chat.previous_price]\ninput_per_1m = 2\noutput_per_1m = 10\n"
    made.path.write_text(text.replace("[routes.chat.orgs]", f"{prices}[routes.chat.orgs]"))
    made.state = state_folder()
    for key in sim.state.keys.values():
        key.created_at = key.created_at.replace(year=2020)
    return Traffic(made)


def kept_store(world: World) -> Path:
    """Return the path of what the screen pulls into."""
    return store_path(state_folder(), "default", world.sim.base_url)


def at(ago: float = 0.0) -> float:
    """Return a time, some seconds before that of the traffic."""
    return time.time() - AGO_S - ago


def app_of(path: Path, *, read_only: bool = False, token: str = DEMO_TOKEN) -> ConsoleApp:
    switch = Switch(
        path, History(path.parent / "h.sqlite3"), Actor("jo", "gw-01"),
        access=WriteAccess(read_only=read_only),
    )  # fmt: skip
    vault = fixed_vault({"management_token": token} if token else {}, {})
    return ConsoleApp(
        switch, Monitor(path, switch.open().file), Settings(), user="jo", host="gw-01",
        vault=vault,
    )  # fmt: skip


@asynccontextmanager
async def shown(
    path: Path, size: tuple[int, int] = (120, 40), **how: Any
) -> AsyncIterator[Running]:
    app = app_of(path, **how)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        yield pilot
        assert app._exception is None


async def opened(pilot: Running) -> None:
    """Open the screen, and wait until what was pulled before is read."""
    await pilot.press("8")
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, MoneyScreen))
    await until_shown(pilot, lambda: screen(pilot)._feed.link.is_ready)
    await listed(pilot)


async def pulled(pilot: Running) -> None:
    """Pull, and wait for the rows."""
    load = screen(pilot)._view.load
    await pilot.press("p")
    await until_shown(pilot, lambda: screen(pilot)._view.load > load)
    await listed(pilot)


async def listed(pilot: Running) -> None:
    """Wait until the list that is shown has its rows."""
    await until_shown(pilot, lambda: is_listed(pilot))


def is_listed(pilot: Running) -> bool:
    found = pilot.app.screen
    if not isinstance(found, MoneyScreen):
        return False
    view = found._view
    if view.loaded is not None and view.loaded.horizon is None:
        return True
    return view.level.of == view.load and not found._feed.is_waiting


async def pressed(pilot: Running, *keys: str) -> None:
    """Press keys, and wait for what they list after each."""
    for key in keys:
        await pilot.press(key)
        await listed(pilot)


def screen(pilot: Running) -> MoneyScreen:
    found = pilot.app.screen
    assert isinstance(found, MoneyScreen)
    return found


def line(pilot: Running, name: str) -> str:
    found = pilot.app.screen.query(f"#money-{name}")
    return found.first(TextLine).text if found else ""


def texts(pilot: Running, name: str) -> str:
    return str(pilot.app.screen.query_one(f"#money-{name}", Static).render())


def rows(pilot: Running) -> list[str]:
    """Return the lines of the table, from the cursor's column on."""
    table = pilot.app.screen.query_one(LineTable)
    lines = [table.render_line(y).text for y in range(1, table.size.height)]
    return [text.rstrip() for text in lines if text.strip()]


def dialog(pilot: Running) -> str:
    parts = (str(one.render()) for one in pilot.app.screen.query(Static))
    return " ".join("\n".join(parts).split())
