"""Several keys in one breath, as a slow link delivers them: each does what it was typed for."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.readiness.phases import Phases
from rollout_console.readiness.plan_file import PlanFile, PlanState
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_console.ui.dialogs.form import FormDialog
from rollout_console.ui.dialogs.percent import PercentDialog
from rollout_console.ui.screens.home.screen import HomeScreen
from rollout_console.ui.screens.keys.screen import KeysScreen
from rollout_console.ui.screens.routes.actions import RouteFlows
from rollout_console.ui.screens.routes.screen import RoutesScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.rollout_table import RolloutTable
from tests.support.waiting import until_shown
from tests.ui.test_key_order import key

NAMES = {"/": "slash", "-": "minus", "!": "exclamation_mark", "+": "plus", "\r": "enter"}


def app_of(file: Path) -> ConsoleApp:
    switch = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"))
    monitor = Monitor(file, switch.open().file)
    return ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01")


def _is_org_selected(app: ConsoleApp) -> bool:
    row = app.home.query_one(RolloutTable).selected
    return row is not None and row.org is not None


def slow_plan(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have a form of the routes screen open late."""
    plan = Phases.plan

    def slowly(room: Phases) -> PlanState:
        time.sleep(seconds)
        return plan(room)

    monkeypatch.setattr(Phases, "plan", slowly)


def seen_screens(monkeypatch: pytest.MonkeyPatch) -> list[type[object]]:
    """Return a list that the class of each form that is opened is added to."""
    seen: list[type[object]] = []
    opened = FormDialog.opened

    def noted(form: FormDialog) -> None:
        seen.append(type(form))
        opened(form)

    monkeypatch.setattr(FormDialog, "opened", noted)
    return seen


def _value(pilot: Pilot[None]) -> str:
    return pilot.app.screen.query(Input).first().value


async def breathe(pilot: Pilot[None], keys: str) -> None:
    """Press keys without waiting for anything between them."""
    for one in keys:
        pilot.app.post_message(events.Key(NAMES.get(one, one), one))
    await pilot.pause(0.5)
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until_shown(pilot, lambda: app.keys.is_idle)


@pytest.mark.parametrize("typed", ["rolls", "-+!uRoxX", "globex", "2345q", "yyy"])
async def test_what_follows_the_slash_is_the_filter(file: Path, typed: str) -> None:
    app = app_of(file)
    before = file.read_bytes()
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: bool(app.home.query_one(RolloutTable).rows))
        await breathe(pilot, f"/{typed}")
        assert app.screen is app.home
        assert app.home.query_one("#filter", Input).value == typed
        await breathe(pilot, "y")
        await pilot.press("escape")
        await until_shown(pilot, lambda: not app.home.has_class("-filtering"))
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
        await until_shown(pilot, lambda: app.screen is not app.home and app.keys.is_idle)
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
        await until_shown(pilot, lambda: bool(app.home.query_one(RolloutTable).rows))
        await pilot.press("j", "e")
        await until_shown(pilot, lambda: isinstance(app.screen, PercentDialog))
        await until_shown(pilot, lambda: app.keys.is_idle)
        app.screen.set_focus(None)
        await breathe(pilot, "25")
        assert app.screen.query_one(Input).value == "25"


@pytest.mark.parametrize("slow_s", [0.0, 0.4])
async def test_what_is_typed_before_a_form_opens_is_in_the_form(
    file: Path, monkeypatch: pytest.MonkeyPatch, slow_s: float
) -> None:
    """Its letters are keys of the screen below, some of which change things."""
    before = file.read_bytes()
    async with routes_screen(file) as pilot:
        slow_plan(monkeypatch, slow_s)
        await breathe(pilot, "osam pt]q1")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
        await until_shown(pilot, lambda: _value(pilot) == "sam pt]q1")
        await pilot.press("escape")
    assert file.read_bytes() == before


@asynccontextmanager
async def routes_screen(file: Path) -> AsyncIterator[Pilot[None]]:
    app = app_of(file)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until_shown(pilot, lambda: isinstance(app.screen, RoutesScreen))
        await until_shown(pilot, lambda: app.keys.is_idle)
        yield pilot


def beside(pilot: Pilot[None]) -> RoutesScreen:
    assert isinstance(pilot.app.screen, RoutesScreen)
    return pilot.app.screen


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (("backspace", "x"), "sax"),
        (("left", "x"), "saxm"),
        (("home", "ann, ", "delete"), "ann, am"),
    ],
)
@pytest.mark.parametrize("plan_s", [0.004, 0.008, 0.3])
async def test_keys_that_edit_what_is_typed_before_a_form_opens(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: tuple[str, ...],
    value: str,
    plan_s: float,
) -> None:
    """The form opens while they are dispatched, or long after."""
    async with routes_screen(file) as pilot:
        slow_plan(monkeypatch, plan_s)
        for name in ("o", "s", "a", "m", *typed):
            pilot.app.post_message(events.Paste(name) if " " in name else key(name))
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
        await until_shown(pilot, lambda: _value(pilot) == value)


@pytest.mark.parametrize(("ends", "owner"), [(("enter", "enter"), "sam"), (("escape",), "")])
async def test_a_form_is_ended_by_a_key_that_was_typed_before_it_opened(
    file: Path, monkeypatch: pytest.MonkeyPatch, ends: tuple[str, ...], owner: str
) -> None:
    async with routes_screen(file) as pilot:
        slow_plan(monkeypatch, 0.3)
        screens = seen_screens(monkeypatch)
        for event in map(key, (*"osam", *ends)):
            pilot.app.post_message(event)
        await until_shown(pilot, lambda: FormDialog in screens)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, RoutesScreen))
        await until_shown(pilot, lambda: not beside(pilot)._busy)
        assert PlanFile(file, WriteAccess()).read().route("chat").owner == owner


@pytest.mark.parametrize("is_long", [False, True])
async def test_an_escape_leaves_the_screen_where_no_form_comes(
    file: Path, monkeypatch: pytest.MonkeyPatch, is_long: bool
) -> None:
    is_over = asyncio.Event()

    async def nothing(flows: RouteFlows, state: object) -> None:
        await is_over.wait()

    monkeypatch.setattr(RouteFlows, "owner", nothing)
    if is_long:
        monkeypatch.setattr("rollout_console.ui.screens.base._OPENS_WITHIN_S", 0.3)
    async with routes_screen(file) as pilot:
        for name in ("o", "x", "escape"):
            pilot.app.post_message(key(name))
        await until_shown(pilot, lambda: len(beside(pilot)._typed_ahead) == 2)
        assert isinstance(pilot.app.screen, RoutesScreen)
        if not is_long:
            is_over.set()
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))


async def test_an_escape_closes_a_dialog_without_an_input(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A letter before it confirms nothing, and one after it is a key of the screen again."""
    answers: list[object] = []

    async def asks(flows: RouteFlows, state: object) -> None:
        await asyncio.sleep(0.1)
        question = Question("Lower", "chat / acme 25% to 10%")
        answer = await flows._app.push_screen_wait(ConfirmDialog(question))
        answers.append(answer)

    monkeypatch.setattr(RouteFlows, "owner", asks)
    async with routes_screen(file) as pilot:
        for name in ("o", "y", "escape", "2"):
            pilot.app.post_message(key(name))
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, KeysScreen))
    assert answers == [None]


async def test_the_console_is_quit_while_an_action_may_open_a_form(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with routes_screen(file) as pilot:
        slow_plan(monkeypatch, 0.3)
        for name in ("o", "ctrl+q"):
            pilot.app.post_message(key(name))
        await until_shown(pilot, lambda: not pilot.app.is_running)
    assert pilot.app.return_code == 0


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
        await until_shown(pilot, lambda: isinstance(app.screen, RoutesScreen))
        await until_shown(pilot, lambda: app.keys.is_idle)
        await breathe(pilot, "oquit")
        await until_shown(pilot, lambda: not beside(pilot)._busy)
        await pilot.press("colon")
        await until_shown(pilot, lambda: isinstance(app.focused, Input))
        await until_shown(pilot, lambda: app.keys.is_idle)
        assert isinstance(app.focused, Input)
        assert app.focused.value == ""
        assert app.is_running
