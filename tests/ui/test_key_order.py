"""Keys that come together do what they do one by one, and the cursor is always in view."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, Static

from rollout_console.ui import key_order
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.percent import PercentDialog
from rollout_console.ui.palette import Palette
from rollout_console.ui.screens.keys.forms import key_form
from rollout_console.ui.widgets.line_table import LineTable
from rollout_console.ui.widgets.rollout_table import RolloutTable
from tests.support.waiting import PATIENCE_S, until_ready, until_shown
from tests.ui.test_forms import field, open_form
from tests.ui.test_home import app_of

SIZES = ((80, 24), (60, 15), (120, 40))
MOVES = (*"jkhlgGzsMc", "enter", "space", "ctrl+d", "ctrl+u", "up", "down", "home", "end", "left",
         "right", "pageup", "pagedown", "escape", "ctrl+o", "tab")  # fmt: skip
ACTIONS = (*"rRe!", "?", ":")
FILTERS = ("acme", "hold", "org-1", "sick")


@pytest.fixture
def long_file(file: Path) -> Path:
    """A file of more rows than a screen has."""
    orgs = "".join(f"org-{i} = {i % 20}\n" for i in range(25))
    routes = (f'\n[routes.r{i}]\nformat = "image"\n[routes.r{i}.orgs]\n{orgs}' for i in range(4))
    file.write_text(file.read_text() + "".join(routes))
    return file


def key(name: str) -> events.Key:
    if len(name) == 1:
        return events.Key(_character_to_key(name), name)
    return events.Key(name, {"space": " ", "enter": "\r", "escape": "\x1b"}.get(name))


def stall(seconds: float) -> None:
    """Block the event loop, as a host that swaps does."""
    time.sleep(seconds)


def is_cursor_in_view(table: LineTable[Any]) -> bool:
    at = table.cursor - table.scroll_offset.y
    return not table.size or 0 <= at < max(table.size.height - table._head, 1)


async def unfold(pilot: Pilot[None], table: RolloutTable) -> None:
    """Unfold all routes, so that there are more rows than lines, with the cursor on the first."""
    await until_shown(pilot, lambda: bool(table.rows))
    while len(table.rows) < 100:
        await pilot.press("z")
    await pilot.press("g")
    await until_shown(pilot, lambda: table.cursor == 0 and bool(table.max_scroll_y))


def shown(app: ConsoleApp) -> tuple[object, ...]:
    """Return what the next key would act on."""
    screen: Screen[object] = app.screen
    table = app.home.query_one(RolloutTable)
    selected = table.selected
    dialog = "" if screen is app.home else " / ".join(
        str(one.render()) for one in screen.query(Static).results(Static)
    )  # fmt: skip
    typed = tuple(one.value for one in screen.query(Input).results(Input))
    row = None if selected is None else selected.key
    return type(screen).__name__, row, len(table.rows), typed, dialog.partition("now on")[0]


async def settled(pilot: Pilot[None], app: ConsoleApp) -> tuple[object, ...]:
    before, steady = None, 0
    while steady < 3:
        await pilot.pause(0.03)
        now = (shown(app), app.keys.is_idle)
        before, steady = now, steady + 1 if now == before and app.keys.is_idle else 0
    return shown(app)


async def typed(
    app: ConsoleApp, keys: Sequence[str], size: tuple[int, int], *, at_once: bool
) -> tuple[object, ...]:
    async with app.run_test(size=size) as pilot:
        await settled(pilot, app)
        for name in keys:
            app.post_message(key(name))
            if not at_once:
                await settled(pilot, app)
        found = await settled(pilot, app)
        assert app._exception is None
        for table in app.screen.query(LineTable).results(LineTable):
            assert is_cursor_in_view(table), keys
        return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
async def test_keys_at_once_do_what_they_do_one_by_one(long_file: Path, seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(3):
        keys = [chosen.choice(MOVES) for _ in range(chosen.randint(2, 6))]
        if chosen.random() < 0.5:
            at = chosen.randrange(len(keys))
            keys[at:at] = ["/", *chosen.choice(FILTERS), "enter"]
        keys += chosen.choices(ACTIONS, k=chosen.randint(0, 1))
        size = chosen.choice(SIZES)
        before = long_file.read_bytes()
        at_once = await typed(app_of(long_file), keys, size, at_once=True)
        assert at_once == await typed(app_of(long_file), keys, size, at_once=False), keys
        assert long_file.read_bytes() == before


@pytest.mark.parametrize("name", ["down", "pagedown", "end", "j", "ctrl+d", "G"])
async def test_keys_that_move_take_the_cursor_along(long_file: Path, name: str) -> None:
    app = app_of(long_file)
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.home.query_one(RolloutTable)
        await unfold(pilot, table)
        await pilot.press(name)
        await until_shown(pilot, lambda: table.cursor > 0)
        assert is_cursor_in_view(table)
        assert "▸" in "".join(table.render_line(y).text for y in range(table.size.height))


async def test_the_wheel_and_a_click_take_the_cursor_along(long_file: Path) -> None:
    app = app_of(long_file)
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.home.query_one(RolloutTable)
        await unfold(pilot, table)
        x, y = table.region.x + 5, table.region.y + 5
        for kind, to in ((events.MouseScrollDown, 30), (events.MouseScrollUp, 0)):
            while abs(table.scroll_offset.y - to) > 3:
                app.post_message(kind(None, x, y, 0, 0, 0, False, False, False))
                await pilot.pause()
                assert is_cursor_in_view(table)
        assert await pilot.click(table, offset=(5, 4))
        await until_shown(pilot, lambda: table.cursor == table.scroll_offset.y + 3)


async def test_a_dialog_gets_what_was_typed_with_the_key_that_opens_it(file: Path) -> None:
    app = app_of(file)
    before = file.read_bytes()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, lambda: bool(app.home.query_one(RolloutTable).rows))
        await pilot.press("j")
        for name in ("r", "escape", "j", "k"):
            app.post_message(key(name))
        await settled(pilot, app)
        assert app.screen is app.home, "escape closes the dialog of the r before it"
        for name in ("e", "2", "enter", "5"):
            app.post_message(key(name))
        await until_shown(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        texts = " ".join(str(one.render()) for one in app.screen.query(Static).results(Static))
        assert "to 2% " in texts, "the 5 came after the enter"
        for name in ("escape", "e", "enter", "x"):
            app.post_message(key(name))
        await settled(pilot, app)
        assert isinstance(app.screen, PercentDialog), "an empty percent is none"
    assert file.read_bytes() == before


async def test_a_widget_that_is_busy_holds_no_other_key_for_ever(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(file)
    busy, redrawn = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(app, "action_redraw", redrawn.set)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, lambda: bool(app.home.query_one(RolloutTable).rows))
        app.home.query_one(RolloutTable).call_later(busy.wait)
        for name in ("j", "ctrl+l"):
            app.post_message(key(name))
        try:
            await asyncio.wait_for(redrawn.wait(), PATIENCE_S)
        finally:
            busy.set()
        await until_shown(pilot, lambda: app.keys.is_idle)


@pytest.mark.slow
@pytest.mark.parametrize("hops", [3, 12, 30])
async def test_a_stall_of_the_host_dispatches_no_key_too_early(file: Path, hops: int) -> None:
    """As a paused VM is: the deadlines of a wall clock pass, and nothing had its chance."""
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        await open_form(pilot, key_form(None, "prod"))
        for name in (*"ci", "enter", *"12", "enter", *"gpt", "enter", *"30d"):
            app.post_message(key(name))
        for _ in range(hops):
            await asyncio.sleep(0)
        stall(1.5)
        await settled(pilot, app)
        found = {name: field(pilot, name).value for name in ("name", "limit", "models", "expires")}
        assert found == {"name": "ci", "limit": "12", "models": "gpt", "expires": "30d"}


async def until_asked(app: ConsoleApp, hops: int = 50) -> ConfirmDialog:
    """Return a confirm dialog some hops after it has its focus: its grace period has begun."""
    while hops:
        await asyncio.sleep(0)
        hops -= isinstance(app.screen, ConfirmDialog) and app.focused is not None
    assert isinstance(app.screen, ConfirmDialog)
    return app.screen


async def stalled(dialog: ConfirmDialog, at_s: Sequence[float]) -> bool:
    """Stall at each time of a dialog's grace period; return False where it was over before."""
    for begins_s in at_s:
        while dialog.sight.grace is None or dialog.sight.grace.elapsed_s < begins_s:  # noqa: ASYNC110
            await asyncio.sleep(0)
        if dialog.sight.is_ready:
            return False
        stall(0.5)
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    "at_s", [(0.0,), (0.05,), (0.1,), (0.15,), (0.0, 0.05), (0.0, 0.05, 0.1)], ids=str
)
async def test_a_stall_of_the_host_ends_no_grace_period(
    file: Path, at_s: tuple[float, ...]
) -> None:
    """Stalls begin when so much of it is over; a key that came in one may be of its beginning."""
    before = file.read_bytes()
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        app.post_message(key("r"))
        while not await stalled(await until_asked(app), at_s):
            await pilot.press("escape")  # the host has stalled by itself: it was over too soon
            await settled(pilot, app)
            app.post_message(key("r"))
        for _ in range(3):  # what is due is done first, and what the terminal has is read then
            await asyncio.sleep(0)
        app.post_message(key("y"))
        await settled(pilot, app)
        assert isinstance(app.screen, ConfirmDialog)
        assert file.read_bytes() == before


async def test_a_host_that_stalls_all_the_time_can_be_answered(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        app.post_message(key("r"))
        dialog = await until_asked(app)
        stalls = 0
        while not dialog.sight.is_ready:
            stall(0.11)
            await asyncio.sleep(0)
            stalls += 1
            assert stalls < 20


@pytest.mark.slow
async def test_keys_that_are_given_up_on_confirm_nothing(file: Path) -> None:
    """A widget is busy, so keys are dispatched all at once: the y was typed before the dialog."""
    before = file.read_bytes()
    app = app_of(file)
    busy = asyncio.Event()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        await pilot.press("j")
        app.post_message(key("r"))
        await until_asked(app, 1)
        app.home.call_later(busy.wait)
        app.post_message(key("y"))
        await until_shown(pilot, lambda: bool(app.keys._waiting))
        await until_shown(pilot, lambda: app.keys.is_idle)
        await pilot.pause(0.2)
        assert isinstance(app.screen, ConfirmDialog)
        assert file.read_bytes() == before
        busy.set()
        await pilot.press("y")
        await until_shown(pilot, lambda: file.read_bytes() != before)


@pytest.mark.parametrize("name", ["n", "q"])
async def test_a_key_typed_ahead_closes_no_question_unseen(file: Path, name: str) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        for one in ("r", name):
            app.post_message(key(one))
        await settled(pilot, app)
        assert isinstance(app.screen, ConfirmDialog)
        await until_ready(pilot)
        await pilot.press(name)
        await until_shown(pilot, lambda: app.screen is app.home)


@pytest.mark.parametrize("name", ["question_mark", "r", "2"])
async def test_a_screen_is_waited_for_before_its_first_key(file: Path, name: str) -> None:
    """That key is so handled at once: on a slow link the wait would come upon each esc."""
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        app.post_message(key("j"))
        await settled(pilot, app)
        app.post_message(key(name))
        await until_shown(pilot, lambda: app.screen is not app.home)
        await until_shown(pilot, lambda: app.keys.is_idle and not app.keys.is_early)


async def test_a_y_of_a_long_burst_confirms_nothing(long_file: Path) -> None:
    app = app_of(long_file)
    before = long_file.read_bytes()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        for name in ("j", "r", *"j" * 400, "y"):
            app.post_message(key(name))
        await settled(pilot, app)
        assert isinstance(app.screen, ConfirmDialog), "typed before the dialog was there"
        assert long_file.read_bytes() == before
        await until_ready(pilot)
        assert await pilot.click("#cancel")
        await until_shown(pilot, lambda: app.screen is app.home)


async def test_enter_in_the_palette_is_of_what_is_typed(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        for name in (":", *"zzzz", "enter"):
            app.post_message(key(name))
        await settled(pilot, app)
        assert isinstance(app.screen, Palette), "no command matches"
        await pilot.press("escape")
        await until_shown(pilot, lambda: app.screen is app.home)
        for name in (":", *"theme sixt", "enter"):
            app.post_message(key(name))
        await until_shown(pilot, lambda: app.theme == "sixteen")


async def test_a_click_waits_for_the_keys_before_it(long_file: Path) -> None:
    app = app_of(long_file)
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.home.query_one(RolloutTable)
        await unfold(pilot, table)
        for _ in range(40):
            app.post_message(key("j"))
        at = (table, table.region.x + 5, table.region.y + 4, 0, 0, 1, False, False, False)
        for kind in (events.MouseDown, events.MouseUp):
            app.post_message(kind(*at))
        await settled(pilot, app)
        assert table.scroll_offset.y > 20
        assert table.cursor == table.scroll_offset.y + 3


async def test_a_key_waits_a_moment_for_the_rows_of_a_screen(
    long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in ("_GOES_ON_WITHIN_S", "_OPENS_WITHIN_S"):
        monkeypatch.setattr(key_order, moment, PATIENCE_S)  # however busy this machine is
    app = app_of(long_file)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        for name in ("4", "j", "j"):
            app.post_message(key(name))
        await settled(pilot, app)
        assert app.screen.query_one(LineTable).cursor == 2
