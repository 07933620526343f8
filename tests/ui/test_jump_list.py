"""The jump list: back to where a jump was made from, and forward again, across screens."""

from pathlib import Path

from textual.pilot import Pilot

from rollout_console.ui.jump_list import JumpList, Position
from rollout_console.ui.screens.base import BesideScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.rollout_table import RolloutTable
from tests.support.waiting import until_shown
from tests.ui.test_home import app_of, running

A, B, C = Position("home", ("chat", "a", "")), Position("live"), Position("home")


def test_back_and_forward_as_in_vim() -> None:
    jumps = JumpList()
    assert jumps.go(-1, A) is None
    assert jumps.go(1, A) is None
    jumps.leave(A)
    jumps.leave(B)
    assert [jumps.go(-1, C), jumps.go(-1, B), jumps.go(-1, A)] == [B, A, None]
    assert [jumps.go(1, A), jumps.go(1, B), jumps.go(1, C)] == [B, C, None]
    assert jumps.go(-1, C) == B
    jumps.leave(A)
    assert jumps.go(1, C) is None, "a jump ends the way forward"
    assert [jumps.go(-1, C), jumps.go(-1, A)] == [A, B], "a position is there once"


def test_it_is_bounded() -> None:
    jumps = JumpList()
    for i in range(1_000):
        jumps.leave(Position("home", ("chat", str(i), "")))
    steps = 0
    while jumps.go(-1, C):
        steps += 1
    assert steps == 99


def place(pilot: Pilot[None]) -> tuple[str, str, str | None]:
    row = pilot.app.screen_stack[0].query_one(RolloutTable).selected
    assert row is not None
    name = type(pilot.app.screen).__name__.removesuffix("Screen").lower()
    return name, row.route, row.org


def said(pilot: Pilot[None]) -> str:
    screen = pilot.app.screen
    assert isinstance(screen, BesideScreen)
    return screen.query_one(screen.NOTICE, TextLine).text


async def test_rows_filters_and_screens(file: Path) -> None:
    app = app_of(file)
    async with running(app) as pilot:
        begun = place(pilot)
        assert begun == ("home", "chat", "acme")
        await pilot.press("G")
        last = place(pilot)
        assert last == ("home", "claude", "acme")
        await pilot.press("5")
        await until_shown(pilot, lambda: place(pilot)[0] == "live")
        await pilot.press("6")
        await until_shown(pilot, lambda: place(pilot)[0] == "history")
        await pilot.press("escape")
        await until_shown(pilot, lambda: place(pilot)[0] == "home")
        await pilot.press("slash", *"globex", "enter", "ctrl+o")
        assert place(pilot) == last, "though the filter hides that row"
        for there in ("history", "live", "home"):
            await pilot.press("ctrl+o")
            await until_shown(pilot, lambda: place(pilot)[0] == there)  # noqa: B023
        assert place(pilot) == begun
        await pilot.press("ctrl+o")
        assert place(pilot) == begun
        await pilot.press("ctrl+n")
        await until_shown(pilot, lambda: place(pilot)[0] == "live")
        await pilot.press("6")
        await until_shown(pilot, lambda: place(pilot)[0] == "history")
        await pilot.press("ctrl+n")
        assert said(pilot) == " no jump after this one", "on the screen that is shown"
        await pilot.press("5")
        await until_shown(pilot, lambda: place(pilot)[0] == "live")
        await pilot.press("r")
        await pilot.press("ctrl+o")
        assert pilot.app.is_running


async def test_the_keys_can_be_remapped_and_a_route_may_be_gone(file: Path) -> None:
    keymap = {"jump.back": "ctrl+t", "jump.forward": "ctrl+y"}
    app = app_of(file, settings=Settings(keymap=keymap))
    async with running(app) as pilot:
        await pilot.press("G", "g")
        first = place(pilot)
        await pilot.press("ctrl+t")
        assert place(pilot) == ("home", "claude", "acme")
        text = file.read_text()
        file.write_text(text[: text.index("[routes.claude]")])
        await until_shown(pilot, lambda: "claude" not in app._monitor.file.routes)
        await pilot.press("ctrl+y", "ctrl+t", "ctrl+t")
        assert place(pilot)[1] == "chat"
        assert first[1] == "chat"
