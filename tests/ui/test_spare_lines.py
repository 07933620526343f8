"""Folds of home: the lines that are left show the busiest orgs, and no figure moves a row."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from rollout_console.ui.screens.home.rows import Row
from rollout_console.ui.widgets.rollout_table import RolloutTable
from tests.support.waiting import until_shown
from tests.ui.test_home import Running, alarm, app_of, confirm, log_lines, running, screen_text

TABLE_LINES = 24 - 6 - 7
"""The lines of the table at 80x24, without its header, an alarm and the charts."""


def many(file: Path, count: int = 12) -> Path:
    """Leave a file with two routes, each with so many orgs: none of them fits unfolded."""
    orgs = "".join(f"org-{i} = 50\n" for i in range(count))
    head = file.read_text().partition("[routes.")[0]
    routes = (
        f'[routes.{name}]\nformat = "openai_chat_completions"\nmodel = "gpt-5.4"\n'
        f'previous_base_url = "https://api.openai.com/v1"\n[routes.{name}.orgs]\n{orgs}'
        for name in ("chat", "mail")
    )
    file.write_text(head + "\n".join(routes))
    return file


def rows(pilot: Running) -> Sequence[Row]:
    return pilot.app.query_one(RolloutTable).rows


def names(pilot: Running) -> list[str]:
    return [row.org or row.route for row in rows(pilot)]


def play(file: Path, busy: Sequence[int], route: str = "chat") -> None:
    """Write requests of orgs, the first the busiest."""
    for rank, org in enumerate(busy):
        log_lines(file, 4 * (len(busy) - rank), route=route, orgs=(f"org-{org}",))


async def test_the_lines_left_show_the_busiest_orgs_in_the_files_order(file: Path) -> None:
    play(many(file), (11, 3, 7, 5, 2, 9, 0, 1, 4))
    play(file, (6, 8, 10, 1), "mail")
    async with running(app_of(file)) as pilot:
        await until_shown(pilot, lambda: len(rows(pilot)) == TABLE_LINES)
        assert "+chat (12)" in screen_text(pilot)
        assert names(pilot) == [
            *("chat", "org-0", "org-2", "org-3", "org-5", "org-7", "org-9", "org-11"),
            *("mail", "org-6", "org-8"),
        ], "those of all routes with most requests"
        assert sum(row.folded for row in rows(pilot)) == 24 - 9


async def test_traffic_moves_no_row_until_another_screen_was_active(file: Path) -> None:
    play(many(file), (11, 3, 7, 5, 2, 9, 0, 1, 4, 6))
    async with running(app_of(file)) as pilot:
        await until_shown(pilot, lambda: len(rows(pilot)) == TABLE_LINES)
        before = names(pilot)
        await pilot.press("j", "j")
        selected = pilot.app.query_one(RolloutTable).selected
        log_lines(file, 400, route="mail", orgs=("org-10", "org-8", "org-new"))
        await until_shown(pilot, lambda: any(row.lines == 13 for row in rows(pilot)))
        assert names(pilot) == before
        assert pilot.app.query_one(RolloutTable).selected == selected
        await pilot.press("6")
        await pilot.pause(0.2)
        await pilot.press("1")
        await until_shown(pilot, lambda: "org-new" in names(pilot))
        assert len(rows(pilot)) == TABLE_LINES


async def test_the_sick_take_the_lines_of_the_well_and_the_selected_stays(file: Path) -> None:
    play(many(file), (11, 3, 7, 5, 2, 9, 0, 1, 4, 6))
    async with running(app_of(file)) as pilot:
        await until_shown(pilot, lambda: len(rows(pilot)) == TABLE_LINES)
        table = pilot.app.query_one(RolloutTable)
        shown = names(pilot)
        quietest = "org-6" if "org-6" in shown else "org-4"
        table.move_to(shown.index(quietest))
        log_lines(file, 60, 503, route="mail", orgs=("org-8",))
        log_lines(file, 60, route="mail", orgs=("org-1", "org-2", "org-3"))
        await until_shown(pilot, lambda: "mail / org-8: 5xx" in alarm(pilot))
        await until_shown(pilot, lambda: names(pilot)[-2:] == ["mail", "org-8"])
        assert len(rows(pilot)) == TABLE_LINES, "a route that is sick is not out of sight"
        selected = table.selected
        assert selected is not None
        assert selected.org == quietest, "the row under the cursor"


@pytest.mark.slow
async def test_a_row_of_a_folded_route_does_not_go_from_under_the_cursor(file: Path) -> None:
    """A sick org is shown though its route is folded, and once it is rolled back as well."""
    async with running(app_of(many(file))) as pilot:
        table = pilot.app.query_one(RolloutTable)
        log_lines(file, 60, 503, route="mail", orgs=("org-8",))
        log_lines(file, 60, route="mail", orgs=("org-1", "org-2", "org-3"))
        await until_shown(pilot, lambda: "mail / org-8: 5xx" in alarm(pilot))
        await pilot.press("z", "z", "n")  # folded by hand: no line is filled
        assert names(pilot) == ["chat", "mail", "org-8"]
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: not alarm(pilot))
        await pilot.pause(1.2)
        assert table.selected is not None
        assert (table.selected.org, table.selected.latched_by) == ("org-8", "org")
        await pilot.press("z", "z")
        assert names(pilot) == ["chat", "mail"], "folded by hand, the cursor goes to the route"
        assert table.selected.route == "mail"


async def test_a_new_org_folds_no_route_that_is_read(file: Path) -> None:
    async with running(app_of(many(file, 3)), size=(80, 24)) as pilot:
        log_lines(file, 6, orgs=("org-1",))
        await until_shown(pilot, lambda: "org-1" in screen_text(pilot))
        assert not any(row.folded for row in rows(pilot))
        assert len(rows(pilot)) == 8
        log_lines(file, 5, orgs=[f"new-{i}" for i in range(5)])
        await until_shown(pilot, lambda: "new-4" in names(pilot))
        assert not any(row.folded for row in rows(pilot))
        log_lines(file, 8, orgs=[f"newer-{i}" for i in range(8)])
        await until_shown(pilot, lambda: any(row.folded for row in rows(pilot)))


@pytest.mark.slow
async def test_the_first_org_with_traffic_does_not_take_the_lines_of_all(file: Path) -> None:
    play(many(file), (7,))
    async with running(app_of(file)) as pilot:
        await until_shown(pilot, lambda: pilot.app.home._monitor.lines)  # type: ignore[attr-defined]
        await pilot.pause(2.2)
        assert names(pilot) == ["chat", "mail"], "a moment for the others"
        play(file, (11, 3, 7, 5, 2, 9, 0, 1, 4))
        await until_shown(pilot, lambda: len(rows(pilot)) == TABLE_LINES)
