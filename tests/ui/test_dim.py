"""What cannot be done now, or matters less, is dimmed: seen in the colours that are drawn."""

from pathlib import Path

import pytest
from rich.color import Color
from rich.segment import Segment

from rollout_console.sim.server import SimServer
from rollout_console.ui.widgets.component import component_style
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line_table import LineTable
from tests.support.waiting import until_shown
from tests.ui.test_models_screen import app_of
from tests.ui.test_routes_screen import routes


def drawn(bar: KeyBar, text: str) -> Color | None:
    segments: list[Segment] = list(bar.render_line(0))
    found = next(segment for segment in segments if segment.text.strip().startswith(text))
    return found.style.color if found.style else None


@pytest.mark.parametrize("theme", ["night-ops", "day-ops", "deuteranopia"])
async def test_dim_is_another_colour(file: Path, sim: SimServer, theme: str) -> None:
    app = app_of(file, sim.base_url)
    async with app.run_test(size=(100, 30)) as pilot:
        app.theme = theme
        await pilot.pause()
        table = app.screen.query_one(LineTable)
        assert component_style(table, "table--dim").color not in (None, table.rich_style.color)
        bar = app.screen.query_one(KeyBar)
        assert component_style(bar, "key--off").color not in (None, bar.rich_style.color)


async def test_without_colours_dim_is_the_terminals(file: Path, sim: SimServer) -> None:
    app = app_of(file, sim.base_url)
    async with app.run_test(size=(100, 30)) as pilot:
        app.theme = "sixteen"
        await pilot.pause()
        assert component_style(app.screen.query_one(LineTable), "table--dim").dim


async def test_keys_come_alive_when_there_is_something_to_do(file: Path) -> None:
    """The first drawing is of an empty screen; the keys must not stay as dim as they were then."""
    with SimServer(seed=6) as server:
        async with routes(file, server) as pilot:
            bar = pilot.app.screen.query_one(KeyBar)
            await until_shown(pilot, lambda: drawn(bar, "p") == drawn(bar, "c"))
    app = app_of(file, "http://127.0.0.1:9", read_only=True)
    async with app.run_test(size=(100, 30)) as pilot:
        bar = app.screen.query_one(KeyBar)
        assert drawn(bar, "r") != drawn(bar, "/")
