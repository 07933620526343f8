"""Several keys in one breath, as a slow link delivers them: each does what it was typed for."""

import asyncio
import time
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from rollout_console.changes.switch import Switch
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.readiness.phases import Phases
from rollout_console.readiness.plan_file import PlanState
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.form import FormDialog
from rollout_console.ui.dialogs.percent import PercentDialog
from rollout_console.ui.screens.routes.actions import RouteFlows
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.rollout_table import RolloutTable
from tests.support.waiting import until_shown

NAMES = {"/": "slash", "-": "minus", "!": "exclamation_mark", "+": "plus", "\r": "enter"}


def app_of(file: Path) -> ConsoleApp:
    switch = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"))
    monitor = Monitor(file, switch.open().file)
    return ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01")


def _is_org_selected(app: ConsoleApp) -> bool:
    row = app.home.query_one(RolloutTable).selected
    return row is not None and row.org is not None


async def breathe(pilot: Pilot[None], keys: str) -> None:
    """Press keys without waiting for anything between them."""
    for key in keys:
        pilot.app.post_message(events.Key(NAMES.get(key, key), key))
    await pilot.pause(0.5)
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until_shown(pilot, lambda: app.keys.is_idle)


@pytest.mark.parametrize("typed", ["rolls", "-+!uRoxX", "globex", "2345q", "yyy"])
async def test_what_follows_the_slash_is_the_filter(file: Path, typed: str) -> None:
    app = app_of(file)
    before = file.read_bytes()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(0.2)
        await breathe(pilot, f"/{typed}")
        assert app.screen is app.home
        assert app.home.query_one("#filter", Input).value == typed
        await breathe(pilot, "y")
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert not app.home.has_class("-filtering")
        assert app.home.query_one("#filter", Input).value == ""
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("screen", "line"),
    [("2", "#keys-filter"), ("3", "#models-search"), ("7", "#jobs-filter"), ("8", "#money-filter")],
)
async def test_so_it_is_on_the_other_screens(file: Path, screen: str, line: str) -> None:
    app = app_of(file)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(screen)
        await pilot.pause(0.5)
        before = app.screen
        await breathe(pilot, "/anXtTu2")
        assert app.screen is before
        assert app.screen.query_one(line, Input).value == "anXtTu2"


async def test_a_percent_typed_at_once_opens_no_other_screen(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: bool(app.screen.query(RolloutTable)))
        await pilot.press("j")
        await until_shown(pilot, lambda: _is_org_selected(app))
        await breathe(pilot, "e25")
        await until_shown(pilot, lambda: isinstance(app.screen, PercentDialog))
        assert app.screen_stack[-2] is app.home
        await until_shown(pilot, lambda: app.screen.query_one(Input).value == "25")
        before = file.read_bytes()
        await breathe(pilot, "\ryy")
        assert file.read_bytes() == before, "a y in the same breath confirms nothing"


async def test_a_percent_is_typed_also_where_its_line_lost_the_focus(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("j", "e")
        await pilot.pause(0.2)
        app.screen.set_focus(None)
        await breathe(pilot, "25")
        assert app.screen.query_one(Input).value == "25"


@pytest.mark.parametrize("slow_s", [0.0, 0.4])
async def test_what_is_typed_before_a_form_opens_is_in_the_form(
    file: Path, monkeypatch: pytest.MonkeyPatch, slow_s: float
) -> None:
    """Its letters are keys of the screen below, some of which change things."""
    plan = Phases.plan

    def slowly(room: Phases) -> PlanState:
        time.sleep(slow_s)
        return plan(room)

    app = app_of(file)
    before = file.read_bytes()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await pilot.pause(0.5)
        monkeypatch.setattr(Phases, "plan", slowly)
        await breathe(pilot, "osam pt]q1")
        await pilot.pause(slow_s + 0.3)
        assert isinstance(app.screen, FormDialog)
        assert app.screen.query(Input).first().value == "sam pt]q1"
        await pilot.press("escape")
    assert file.read_bytes() == before


async def test_what_was_typed_for_nothing_is_not_given_to_the_next_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that opened no form leaves nothing behind for the palette."""

    async def nothing(flows: RouteFlows, state: object) -> None:
        await asyncio.sleep(0.3)

    monkeypatch.setattr(RouteFlows, "owner", nothing)
    app = app_of(file)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await pilot.pause(0.5)
        await breathe(pilot, "oquit")
        await pilot.pause(0.3)
        await pilot.press("colon")
        await pilot.pause(0.3)
        assert isinstance(app.focused, Input)
        assert app.focused.value == ""
        assert app.is_running
