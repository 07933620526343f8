"""Rolling back what is marked on the home screen, with one confirm."""

from pathlib import Path

import pytest
from textual.widgets import Static

from rollout_console.changes.switch import Switch
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.percent import PercentDialog
from rollout_console.ui.widgets.rollout_table import RolloutTable
from rollout_gate.file.parse import parse
from tests.support.waiting import until_shown
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
from tests.ui.test_rollback import answer_and_be_asked_again, unwritable


def marked_lines(pilot: Running) -> list[str]:
    lines = [line[1:] for line in screen_text(pilot).splitlines()]
    return [line.split()[0].strip("*+-") or line.split()[1] for line in lines if line[:1] == "*"]


async def asked(pilot: Running) -> str:
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    return "\n".join(str(one.content) for one in pilot.app.screen.query(Static))


async def test_what_is_marked_is_rolled_back_in_one_change(file: Path) -> None:
    app = app_of(file)
    before = file.read_bytes()
    async with running(app) as pilot:
        await pilot.press("l", "space")  # claude, the route
        await pilot.press("h", "j", "space")
        assert "2 marked: r rolls them back, esc unmarks" in notices(pilot)
        await pilot.press("j", "space")
        assert "3 marked" in notices(pilot)
        assert marked_lines(pilot) == ["acme", "globex.eu", "claude"]
        await pilot.press("j", "r")
        said = await asked(pilot)
        assert "3 lines to 0%" in said
        assert "chat / acme, chat / globex.eu, route claude" in said, "in the file's order"
        await confirm(pilot)
        await until_shown(pilot, lambda: "rolled back: " in notices(pilot))
        assert "chat / acme and 2 more rolled back" in notices(pilot)
        assert "marked:" not in notices(pilot)
        assert marked_lines(pilot) == []
        assert share(file) == (2500, True)
        assert share(file, "globex.eu") == (1250, True)
        assert parse(file.read_bytes()).routes["claude"].rolled_back
        rows = History(file.parent / "h.sqlite3").rows(file)
        assert [(row.action, row.route, row.org) for row in rows[::-1]] == [
            ("rollback", "chat", "acme"), ("rollback", "chat", "globex.eu"),
            ("rollback", "claude", None),
        ]  # fmt: skip
        await pilot.press("u")
        assert "undo of rollback of 3 lines" in await asked(pilot)
        await confirm(pilot)
        await until_shown(pilot, lambda: file.read_bytes() == before)


async def test_esc_and_space_unmark_and_r_is_then_of_the_row(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("space", "j", "space", "space")
        assert marked_lines(pilot) == ["acme"]
        assert "1 marked: r rolls it back" in notices(pilot)
        await pilot.press("escape")
        assert marked_lines(pilot) == []
        assert "marked:" not in notices(pilot)
        await pilot.press("r")
        assert "chat / globex.eu 12.5% to 0%" in await asked(pilot)


async def test_a_cancelled_or_failed_rollback_keeps_the_marks(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("space", "j", "space", "r")
        await confirm(pilot, "n")
        assert marked_lines(pilot) == ["acme", "globex.eu"]
        with unwritable():
            await pilot.press("r")
            shown = await answer_and_be_asked_again(pilot)
            assert "NOT ROLLED BACK: chat / acme, chat / globex.eu" in shown
            await confirm(pilot, "escape")
        assert "NOT ROLLED BACK: chat / acme, chat / globex.eu" in notices(pilot)
        assert marked_lines(pilot) == ["acme", "globex.eu"]
        other = Switch(file, History(file.parent / "h.sqlite3"), Actor("kim", "gw-02"))
        other.open()
        for org in ("acme", "globex.eu"):
            other.apply(other.planner.plan_rollback("chat", org))
        await until_shown(pilot, lambda: "NOT ROLLED BACK" not in notices(pilot))


def with_default(file: Path) -> None:
    file.write_text(file.read_text().replace("default_percent = 0 ", "default_percent = 5 "))


async def test_the_default_share_has_one_name_on_the_screen_and_in_a_confirm(file: Path) -> None:
    with_default(file)
    async with running(app_of(file)) as pilot:
        row = next(line.strip() for line in screen_text(pilot).splitlines() if "(default)" in line)
        assert row.split(maxsplit=2)[1:] == ["5", "orgs without a line of their own"]
        await pilot.press("slash", *"default", "enter", "j", "plus")
        said = await asked(pilot)
        assert "chat / (default) 5% to 10% in rollout.toml (orgs without a line of" in said


async def test_what_has_no_latch_is_set_to_0_with_what_is_rolled_back(file: Path) -> None:
    with_default(file)
    before = file.read_bytes()
    async with running(app_of(file)) as pilot:
        await pilot.press("space", "j", "j", "j", "space", "j", "space")
        assert marked_lines(pilot) == ["acme", "(default)", "flag"]
        assert "3 marked: r sets to 0% or rolls back, esc unmarks" in notices(pilot)
        await pilot.press("r")
        said = await asked(pilot)
        assert "chat / acme to 0% in rollout.toml, rolled back until resumed" in said
        assert "without a latch: chat / (default) 5% to 0%, chat / flag" in said
        await confirm(pilot)
        await until_shown(pilot, lambda: "chat / acme rolled back: " in notices(pilot))
        route = parse(file.read_bytes()).routes["chat"]
        assert (route.flags["beta-testers"], route.default_points) == (0, 0)
        assert share(file) == (2500, True)
        await until_shown(pilot, lambda: not marked_lines(pilot))
        await pilot.press("u")
        assert "undo of rollback of 3 lines" in await asked(pilot)
        await confirm(pilot)
        await until_shown(pilot, lambda: file.read_bytes() == before)


async def test_marks_without_an_org_are_lowered_and_set_to_0(file: Path) -> None:
    with_default(file)
    async with running(app_of(file)) as pilot:
        await pilot.press("j", "j", "j", "space", "j", "space")
        assert "2 marked: r sets to 0%, esc unmarks" in notices(pilot)
        await pilot.press("minus")
        said = await asked(pilot)
        assert "Lower: 2 lines" in said
        assert "chat / (default) 5% to 1%, chat / flag beta-testers 100% to 50%" in said
        await confirm(pilot)
        await until_shown(pilot, lambda: b"beta-testers = 50" in file.read_bytes())
        await until_shown(pilot, lambda: not marked_lines(pilot))
        await pilot.press("space", "k", "space", "e")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, PercentDialog))
        said = "\n".join(str(one.content) for one in pilot.app.screen.query(Static))
        assert "2 shares marked: now 1% to 50%" in said
        await pilot.press("escape")
        with unwritable():
            await pilot.press("r")
            shown = await answer_and_be_asked_again(pilot)
            assert "NOT ROLLED BACK: chat / (default), chat / flag beta" in shown
        await confirm(pilot)
        await until_shown(pilot, lambda: b"beta-testers = 0" in file.read_bytes())
        assert parse(file.read_bytes()).routes["chat"].default_points == 0
        await until_shown(pilot, lambda: "NOT ROLLED BACK" not in notices(pilot))


async def test_a_share_that_leaves_the_file_is_unmarked(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("space", "j", "j", "j", "space")
        assert marked_lines(pilot) == ["acme", "flag"]
        file.write_text(file.read_text().replace("beta-testers = 100\n", ""))
        await until_shown(pilot, lambda: marked_lines(pilot) == ["acme"])
        await pilot.press("r")
        assert "chat / acme 25% to 0%" in await asked(pilot)


async def test_an_org_that_leaves_the_file_is_unmarked(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("space", "j", "space")
        file.write_text(file.read_text().replace('"globex.eu" = 12.5\n', ""))
        await until_shown(pilot, lambda: "globex.eu" not in screen_text(pilot))
        await pilot.press("r")
        assert "chat / acme 25% to 0%" in await asked(pilot)


@pytest.mark.slow
async def test_all_that_a_filter_shows_is_marked(file: Path) -> None:
    app: ConsoleApp = app_of(file)
    async with running(app) as pilot:
        await pilot.press("M")
        assert "set a filter first" in notices(pilot)
        log_lines(file, 300, orgs=("acme", "globex.eu"), failing="globex.eu")
        await until_shown(pilot, lambda: "chat / globex.eu: 5xx" in alarm(pilot))
        await until_shown(pilot, lambda: "1 org sick" in screen_text(pilot))
        await pilot.press("slash", *"sick", "enter", "M")
        await until_shown(pilot, lambda: "1 marked" in notices(pilot))
        assert [key[:2] for key in app.home._view.marked] == [("chat", "globex.eu")]
        await pilot.press("slash", *"!zzz", "enter")
        app.home._view.marked.clear()
        app.home._view.filter = "!zzz"
        app.home._rebuild()
        await pilot.press("M")
        assert {key[:2] for key in app.home._view.marked} == {
            ("chat", "acme"), ("chat", "globex.eu"), ("claude", "acme"),
        }, "no route, no flag, nothing that is rolled back already"  # fmt: skip
        assert len(app.home.query_one(RolloutTable).rows) > 4


async def test_the_sick_routes_of_a_storm_are_marked_as_well(file: Path) -> None:
    """Two routes are sick as wholes, and no org of its own: r after M must be of both."""
    text = file.read_text()
    file.write_text(text.replace("[routes.claude.orgs]\n", "[routes.claude.orgs]\nhooli = 10\n"))
    app: ConsoleApp = app_of(file)
    async with running(app) as pilot:
        log_lines(file, 40, 503, orgs=("acme", "globex.eu"))
        log_lines(file, 40, 503, route="claude", orgs=("acme", "hooli"))
        await until_shown(pilot, lambda: "of 2 " in alarm(pilot))
        await pilot.press("slash", *"sick", "enter")
        await until_shown(pilot, lambda: "filter 'sick': 2 routes; esc clears" in notices(pilot))
        await pilot.press("M")
        await until_shown(pilot, lambda: "2 marked" in notices(pilot))
        await pilot.press("r")
        assert "route chat, route claude" in await asked(pilot)
        await confirm(pilot)
        await until_shown(pilot, lambda: "chat and 1 more rolled back" in notices(pilot))
        assert [one.rolled_back for one in parse(file.read_bytes()).routes.values()] == [True, True]


async def test_read_only_rolls_nothing_marked_back(file: Path) -> None:
    async with running(app_of(file, read_only=True)) as pilot:
        await pilot.press("space", "r")
        assert "read-only" in notices(pilot)
        assert not isinstance(pilot.app.screen, ConfirmDialog)


@pytest.mark.parametrize("size", [(40, 10), (20, 5)])
async def test_the_confirm_of_several_says_what_it_does_in_a_small_terminal(
    file: Path, size: tuple[int, int]
) -> None:
    async with running(app_of(file), size) as pilot:
        await pilot.press("space", "j", "space", "r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        dialog = pilot.app.screen
        how, effect = dialog.query_one(".how"), dialog.query_one(".effect")
        await until_shown(pilot, lambda: how.region.height > 0)
        await until_shown(pilot, lambda: dialog.region.contains_region(how.region))
        assert effect.region.y == (size[1] > 8), "its beginning can be read"
        assert "y: roll back" in str(pilot.app.screen.query_one(".how", Static).content)
