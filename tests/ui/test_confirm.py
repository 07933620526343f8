"""The confirm dialog: what it asks for, what it says, and that nothing else confirms."""

import itertools
from pathlib import Path

import pytest
from textual import events
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input, Static

from rollout_console.cli.commands.demo import let_it_be_old
from rollout_console.history.history import History
from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_gate.file.parse import parse
from tests.support.waiting import resize, until_ready, until_shown
from tests.ui.test_home import (
    Running,
    alarm,
    app_of,
    confirm,
    log_lines,
    notices,
    running,
    screen_text,
    share,
)


@pytest.mark.parametrize("keys", [("enter",), ("n",), ("escape",), ("r",), ("tab", "enter")])
async def test_nothing_else_confirms(file: Path, keys: tuple[str, ...]) -> None:
    before = file.read_bytes()
    async with running(app_of(file)) as pilot:
        await pilot.press("r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press(*keys)
        await pilot.pause(0.2)
        assert file.read_bytes() == before
        if keys != ("r",):
            await until_shown(pilot, lambda: "cancelled: nothing was changed" in notices(pilot))


async def test_a_key_typed_ahead_does_not_confirm(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.ui.dialogs.seen.GRACE_S", 600.0)
    before = file.read_bytes()
    async with running(app_of(file)) as pilot:
        await pilot.press("r")
        while not isinstance(pilot.app.screen, ConfirmDialog):
            await pilot.pause()
        await pilot.press("y")
        await pilot.pause(0.1)
        assert isinstance(pilot.app.screen, ConfirmDialog)
        assert file.read_bytes() == before


async def test_a_held_raise_asks_for_a_typed_reason(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("plus")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, ConfirmDialog), "an empty reason is none"
        how = str(pilot.app.screen.query_one(".how", Static).content)
        assert how == "type, then enter: do it   esc: cancel", "an n is a letter of the reason"
        await pilot.press(*"scheduled", "enter")
        await until_shown(pilot, lambda: share(file) == (5000, False))
        switch = pilot.app.screen._switch  # type: ignore[attr-defined]
        await until_shown(pilot, lambda: bool(switch.recent(1)[0]))  # its row comes after the file
        row = switch.recent(1)[0][0]
        assert (row.reason, row.after) == ("scheduled", "50")


async def healthy(pilot: Running) -> None:
    """Wait until nothing holds a raise: the log is well, and there is no balance to ask for."""
    session = pilot.app.session  # type: ignore[attr-defined]
    await until_shown(pilot, lambda: " ok" in screen_text(pilot) and not session.balance.pending)


async def test_health_lets_a_raise_go_with_a_key(file: Path) -> None:
    let_it_be_old(History(file.parent / "h.sqlite3"), file)
    async with running(app_of(file)) as pilot:
        log_lines(file, 140)
        await healthy(pilot)
        await pilot.press("plus")
        await confirm(pilot)
        await until_shown(pilot, lambda: share(file) == (5000, False))


async def test_a_wide_raise_asks_for_the_name(file: Path) -> None:
    let_it_be_old(History(file.parent / "h.sqlite3"), file)
    async with running(app_of(file)) as pilot:
        log_lines(file, 140)
        await healthy(pilot)
        await pilot.press("e")
        await until_shown(pilot, lambda: bool(pilot.app.screen.query(Input)))
        await pilot.press(*"100", "enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press(*"chatt", "enter")
        assert isinstance(pilot.app.screen, ConfirmDialog)
        await pilot.press("backspace", "enter")
        await until_shown(pilot, lambda: share(file) == (10_000, False))


async def test_a_wrong_percent_is_said_in_the_dialog(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("e")
        await until_shown(pilot, lambda: bool(pilot.app.screen.query(Input)))
        await pilot.press(*"12.345", "enter")
        await pilot.pause()
        said = str(pilot.app.screen.query_one(".error").render())
        assert "two decimals" in said


async def test_what_was_typed_too_short_or_wrong_is_said_in_the_dialog(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("plus")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press(*"acme ok", "enter")
        problem = pilot.app.screen.query_one("#problem", Static)
        await until_shown(pilot, lambda: "at least 8 letters" in str(problem.content))
        assert problem.display
        await pilot.press(*"ay", "enter")
        await until_shown(pilot, lambda: share(file)[0] == 5000)


async def test_two_keys_in_one_breath_ask_once(file: Path) -> None:
    before = file.read_bytes()
    async with running(app_of(file)) as pilot:
        pilot.app.simulate_key("r")
        pilot.app.simulate_key("exclamation_mark")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.pause(0.3)
        dialogs = [one for one in pilot.app.screen_stack if isinstance(one, ConfirmDialog)]
        assert len(dialogs) == 1
        await pilot.press("escape")
        await until_shown(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        assert file.read_bytes() == before
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: file.read_bytes() != before)


async def test_the_grace_counts_from_when_a_confirm_is_in_front_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(app_of(file)) as pilot:
        answers: list[object] = []
        dialogs = [ConfirmDialog(Question("Lower", what)) for what in ("below", "above")]
        for dialog in dialogs:
            await pilot.app.push_screen(dialog, answers.append)
            await until_ready(pilot)
        with monkeypatch.context() as held:
            held.setattr("rollout_console.ui.dialogs.seen.GRACE_S", 3600.0)
            await pilot.press("y", "y")
            assert len(answers) == 1, "the second y was meant for the first dialog"
        dialogs[0].post_message(events.ScreenResume())
        await until_ready(pilot)
        await pilot.press("y")
        assert len(answers) == 2


@pytest.mark.parametrize("size", [(20, 5), (30, 8), (40, 10)])
async def test_a_confirm_says_what_it_does_in_a_small_terminal(
    file: Path, size: tuple[int, int]
) -> None:
    async with running(app_of(file), size) as pilot:
        await pilot.press("r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        dialog = pilot.app.screen
        parts = [dialog.query_one(".effect"), dialog.query_one(".how")]
        await until_shown(pilot, lambda: all(one.region.height for one in parts))
        await until_shown(
            pilot, lambda: all(dialog.region.contains_region(one.region) for one in parts)
        )


@pytest.mark.parametrize("key", ["R", "exclamation_mark", "plus"])
async def test_the_keys_of_a_confirm_are_in_sight_in_any_terminal(file: Path, key: str) -> None:
    """Where texts wrap, they take more lines than the height alone lets expect."""
    async with running(app_of(file), size=(80, 24)) as pilot:
        log_lines(file, 40, 503, orgs=("acme", "org-1"))
        log_lines(file, 40, 503, route="claude", orgs=("acme", "org-1"))
        await until_shown(pilot, lambda: "5xx" in alarm(pilot))
        await pilot.press(key)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        screen = pilot.app.screen
        for size in ((60, 16), (60, 14), (40, 15), (80, 14), (120, 40), (50, 18), (30, 8)):
            await resize(pilot, *size)

            def seen(size: tuple[int, int] = size) -> bool:
                box = screen.query_one("#cancel").region
                inside = box.bottom <= size[1] and box.height == 1
                return inside and screen.get_widget_at(box.x + 1, box.y)[0].id == "cancel"

            await until_shown(pilot, seen)


async def test_a_dialog_of_inputs_keeps_title_and_border_in_80x24(file: Path) -> None:
    """What it needs less are the borders of inputs: without its own it runs into the screen."""
    let_it_be_old(History(file.parent / "h.sqlite3"), file)
    async with running(app_of(file), size=(80, 24)) as pilot:
        await pilot.press("R")
        await confirm(pilot)
        await until_shown(pilot, lambda: parse(file.read_bytes()).routes["chat"].rolled_back)
        await until_shown(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.press("o")
        await until_shown(pilot, lambda: bool(pilot.app.screen.query("#reason")))
        screen = pilot.app.screen
        await until_ready(pilot)
        title, box = screen.query_one(".title"), screen.query_one(Vertical)
        assert title.region.height == 1
        assert box.styles.border_top[0] == "round"
        await pilot.press(*"acme", "enter")
        problem = screen.query_one("#problem", Static)
        await until_shown(pilot, lambda: problem.display)
        await pilot.press("space")
        await until_shown(pilot, lambda: not problem.display)
        for height in range(30, 13, -1):
            await resize(pilot, 80, height)
            parts = [*screen.query(Input).results(Input), screen.query_one("#cancel")]

            def apart(parts: list[Widget] = parts, height: int = height) -> bool:
                ends = [one.region for one in parts]
                below = itertools.pairwise(ends)
                return ends[-1].bottom <= height and all(a.bottom <= b.y for a, b in below)

            await until_shown(pilot, apart)
            opaque = screen.query_one(Vertical).region
            assert screen.has_class("-short") == (opaque.width == 80)


async def test_a_stray_key_and_enter_are_no_reason(file: Path) -> None:
    before = file.read_bytes()
    async with running(app_of(file)) as pilot:
        await pilot.press("e")
        await until_shown(pilot, lambda: bool(pilot.app.screen.query(Input)))
        await pilot.press(*"30", "enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("j", "enter", "enter")
        await pilot.pause(0.3)
        assert isinstance(pilot.app.screen, ConfirmDialog)
        assert file.read_bytes() == before
        await pilot.press(*"ust-because", "enter")
        await until_shown(pilot, lambda: share(file) == (3000, False))
