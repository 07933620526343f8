"""Open the jobs screen on a ledger, and read what it shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from rollout_console.changes.switch import Switch
from rollout_console.cli.credentials import fixed_vault
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.screens.jobs.screen import JobsScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import LineTable
from tests.jobs.ledgers import FILE
from tests.support.waiting import until_ready, until_shown

Running = Pilot[None]


LOST_ANSWER: dict[str, Any] = {"state": "unknown", "task_id": None, "status": 504}


def rollout_in(folder: Path, sim: SimServer) -> Path:
    """Write a rollout file on the simulator to a folder below this one."""
    path = folder / "jobs" / "rollout.toml"
    path.parent.mkdir()
    path.write_text(FILE.format(url=sim.base_url))
    return path


def read_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the ledger four times a second, so that no test waits for it for long."""
    monkeypatch.setattr("rollout_console.ui.screens.jobs.screen.EVERY_S", 0.25)


def app_of(
    path: Path, *, read_only: bool = False, key: str = DEMO_KEY, **settings: Any
) -> ConsoleApp:
    switch = Switch(
        path, History(path.parent / "h.sqlite3"), Actor("jo", "gw-01"),
        access=WriteAccess(read_only=read_only),
    )  # fmt: skip
    vault = fixed_vault({"api_key": key} if key else {}, {})
    return ConsoleApp(
        switch, Monitor(path, switch.open().file), Settings(**settings), user="jo", host="gw-01",
        vault=vault,
    )  # fmt: skip


@asynccontextmanager
async def shown(path: Path, size: tuple[int, int] = (80, 24), **how: Any) -> AsyncIterator[Running]:
    app = app_of(path, **how)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        yield pilot
        assert app._exception is None


async def opened(pilot: Running) -> None:
    await pilot.press("7")
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobsScreen))
    await until_shown(pilot, lambda: "ago" in line(pilot, "status"))


def line(pilot: Running, name: str) -> str:
    found = pilot.app.screen.query(f"#jobs-{name}")
    return found.first(TextLine).text if found else ""


def about(pilot: Running) -> str:
    found = pilot.app.screen.query("#job")
    return str(found.first(Static).render()).replace("\n", " ") if found else ""


def rows(pilot: Running) -> list[str]:
    found = pilot.app.screen.query(LineTable)
    if not found:
        return []
    table = found.first()
    texts = [table.render_line(y).text for y in range(1, table.size.height)]
    return [text.rstrip() for text in texts if text.strip()]


def standings(pilot: Running) -> list[str]:
    return [row[1:].split()[0] for row in rows(pilot)]


def dialog(pilot: Running) -> str:
    texts = (str(one.render()) for one in pilot.app.screen.query(Static))
    return " ".join("\n".join(texts).split())


def is_polling(pilot: Running) -> bool:
    return any(one.group == "jobs-poll" and one.is_running for one in pilot.app.workers)


async def confirmed(pilot: Running, answer: str) -> str:
    """Answer the confirm that is about to open; return what it asked."""
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await until_ready(pilot)
    asked = dialog(pilot)
    await pilot.press(answer)
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobsScreen))
    return asked


def asked_of(sim: SimServer) -> list[str]:
    return [one.path for one in sim.state.requests]
