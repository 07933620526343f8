"""A theme that is chosen shows at once, on every screen and in charts that are drawn already."""

import os
import time
from pathlib import Path

import pytest
from textual.pilot import Pilot

from rollout_console.sim.server import SimServer
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.palette import Palette
from tests.jobs.ledgers import create, write
from tests.support.waiting import until_shown
from tests.ui.test_ascii import app_of, composed, storm

NAMES = ("success", "warning", "error", "accent", "chart-tokenlab", "chart-previous")
SCREENS = {
    "home": "1", "keys": "2", "models": "3", "routes": "4", "live": "5", "history": "6",
    "jobs": "7", "money": "8",
}  # fmt: skip


def colours(pilot: Pilot[None]) -> set[str]:
    """Return the foreground colours of what is drawn."""
    styles = [one.style for strips in composed(pilot).strips for strip in strips for one in strip]
    return {one.color.name.lower() for one in styles if one is not None and one.color is not None}


def of_theme(app: ConsoleApp) -> set[str]:
    """Return the colours by which the theme in use is known."""
    return {app.theme_variables[name].lower() for name in NAMES}


async def opened(pilot: Pilot[None], app: ConsoleApp, key: str) -> None:
    await until_shown(pilot, lambda: app._monitor.lines > 800)
    await pilot.press(key)
    await pilot.pause(1.2)  # its tables and charts are drawn


@pytest.mark.parametrize("screen", SCREENS)
async def test_a_screen_has_no_colour_of_the_theme_before(
    file: Path, sim: SimServer, screen: str
) -> None:
    storm(file, "acme", "globex.eu", "hooli")
    write(file.parent, create("a", now=time.time(), ago=9_000, polls=0))
    app = app_of(file, sim)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, SCREENS[screen])
        before = of_theme(app)
        assert colours(pilot) & before
        app.theme = "day-ops"
        after = of_theme(app)
        await until_shown(pilot, lambda: not colours(pilot) & (before - after))
        assert colours(pilot) & after
        if screen == "live":
            await pilot.press("1")
            await until_shown(pilot, lambda: app.screen is app.home)
            assert not colours(pilot) & (before - after), "it was behind when the theme changed"


async def test_charts_follow_without_waiting_for_their_next_figures(
    file: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.ui.screens.home.screen.CHARTS_EVERY_S", 1e9)
    storm(file, "acme", "globex.eu", "hooli")
    app = app_of(file, sim)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, "1")
        app.home.draw_charts()
        mine = app.theme_variables["chart-tokenlab"].lower()
        await until_shown(pilot, lambda: mine in colours(pilot))
        await pilot.press("colon")
        await until_shown(pilot, lambda: isinstance(app.screen, Palette))
        await pilot.press(*"theme day", "enter")
        await until_shown(pilot, lambda: app.theme == "day-ops" and app.screen is app.home)
        await until_shown(pilot, lambda: mine not in colours(pilot))
        assert app.theme_variables["chart-tokenlab"].lower() in colours(pilot)


@pytest.mark.slow
async def test_an_edit_of_the_settings_shows_at_once(file: Path, sim: SimServer) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "rollout-console"
    app = app_of(file, sim)
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: app.session.balance.latest is not None)
        await pilot.pause(0.2)  # the worker has seen that there are no settings
        (folder / "themes").mkdir(parents=True)
        text = 'name = "mine"\nprimary = "#010203"\nsuccess = "#0a0b0c"\n'
        (folder / "themes" / "mine.toml").write_text(text)
        (folder / "config.toml").write_text('theme = "mine"\n')
        await until_shown(pilot, lambda: app.theme == "mine")
        await until_shown(pilot, lambda: "#0a0b0c" in colours(pilot))
        (folder / "config.toml").write_text('theme = "nope"\n')
        await until_shown(pilot, lambda: app.theme == "night-ops")
        said = [str(one.render()) for one in app.screen.query("#notice-1")]
        assert "no theme 'nope'; known: " in said[0]
        (folder / "config.toml").write_text("theme = [\n")
        await until_shown(
            pilot,
            lambda: "the defaults are used" in str(app.screen.query("#notice-1").first().render()),
        )
